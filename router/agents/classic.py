"""Classic conversations, which the v2 API cannot join: a consumer joins as a chat user and writes as one.

Only identities can join: our number on the customer's channel belongs to the conversation. If the identity is a
participant already, the API refuses with 50433 (in a group MMS 50437), and that participant is ours. The identity is
stored as our own first, so that the webhook of its joining announces nobody. The API sends a message to all other
participants, each on its own channel.
https://www.twilio.com/docs/conversations-classic/api/conversation-participant-resource
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from router.agents.joins import JoinOutcome, JoinResult, may_have_joined, unless_ended
from router.core.addresses import Address, Channel
from router.core.classic.resources import ClassicState, NewClassicParticipant, is_already_there
from router.core.errors import ConflictError, NotFoundError, RequestError, UnavailableError
from router.core.timestamps import to_microseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.agents.joins import JoinRequest
    from router.conversations import ClassicConversations
    from router.core.classic.resources import ClassicMessage
    from router.streams.store.ledgers import Store

#: The identity as which the AI agent joins and writes.
AI_IDENTITY: Final = "ai-agent"
#: In µs.
_SECOND: Final = 1_000_000


class ClassicJoiner:
    """The joiner of an account's classic conversations (see Joiner); without `service_sid`, of its default service."""

    def __init__(
        self, client: ClassicConversations, store: Store, account_id: str, *, service_sid: str | None = None
    ) -> None:
        self._client = client
        self._store = store
        self._account_id = account_id
        self._service_sid = service_sid

    async def join(self, conversation_id: str, request: JoinRequest) -> JoinResult:
        """Add the identity of the request; any other address is TAKEN."""
        if request.address.channel != Channel.CHAT:
            return JoinResult(how=JoinOutcome.TAKEN)
        joining = self._add(conversation_id, request.address)
        result = await unless_ended(joining, partial(self.find_ending, conversation_id))
        return JoinResult(how=result) if isinstance(result, JoinOutcome) else result

    async def find_our_address(self, _conversation_id: str, _channel: str) -> Address | None:
        """Return None: the conversation's own number is not an address to join with."""
        return None

    async def find_ending(self, conversation_id: str, _customer_id: str | None = None) -> JoinOutcome | None:
        """Fetch the conversation; a customer who left a classic one is not noticed."""
        try:
            conversation = await self._client.fetch_conversation(conversation_id, service_sid=self._service_sid)
        except NotFoundError:
            return JoinOutcome.GONE
        return JoinOutcome.CLOSED if conversation.state == ClassicState.CLOSED else None

    async def _add(self, conversation_id: str, address: Address) -> JoinResult:
        await self._store.add_own_addresses(self._account_id, [address])
        member = NewClassicParticipant(identity=address.value)
        try:
            created = await self._client.create_participant(conversation_id, member, service_sid=self._service_sid)
        except (RequestError, NotFoundError, ConflictError, UnavailableError) as error:
            # A 404 too may hide a success: https://support.twilio.com/hc/en-us/articles/50009103572635
            found = await self._find(conversation_id, address.value) if may_have_joined(error) else None
            if found is None:
                raise
            how = JoinOutcome.ADOPTED if is_already_there(error) else JoinOutcome.JOINED
            return JoinResult(how=how, participant_id=found)
        return JoinResult(how=JoinOutcome.JOINED, participant_id=created.sid)

    async def _find(self, conversation_id: str, identity: str) -> str | None:
        try:
            found = await self._client.fetch_participant(conversation_id, identity, service_sid=self._service_sid)
        except NotFoundError:
            return None
        return found.sid


class ClassicText:
    """One text from `author`, an identity of ours, to all others in a classic conversation.

    `since()` is the earliest time at which it can have been sent, in µs by the API's clock.
    """

    def __init__(
        self,
        client: ClassicConversations,
        conversation_id: str,
        *,
        author: str,
        text: str,
        since: Callable[[], int],
        service_sid: str | None = None,
    ) -> None:
        self._client = client
        self._conversation_id = conversation_id
        self._author = author
        self._text = text
        self._since = since
        self._service_sid = service_sid

    async def send(self) -> None:
        """Create the message."""
        await self._client.create_message(
            self._conversation_id, author=self._author, body=self._text, service_sid=self._service_sid
        )

    async def is_recorded(self) -> bool:
        """Return whether the conversation contains the message; messages are read from the newest back to `since`."""
        async for message in self._client.list_messages(self._conversation_id, service_sid=self._service_sid):
            created_at = to_microseconds(message.date_created)
            if created_at is not None and created_at < self._since() // _SECOND * _SECOND:  # the API has whole seconds
                return False
            if self._is_ours(message):
                return True
        return False

    def _is_ours(self, message: ClassicMessage) -> bool:
        return message.author == self._author and (message.body or "").strip() == self._text.strip()
