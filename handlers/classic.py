"""Classic conversations, which the v2 API cannot join: a consumer enters them as a chat user and writes as one.

Only identities sit there: the number on the customer's channel is the conversation's own and nobody's seat. Joining
twice is joining once: the API refuses the second time (50433, in a group MMS 50437), and then who is there is us. The
identity is noted as our own before, so that its webhook announces nobody. A message that is written is sent by the
API to everybody else in the conversation, on the channel of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from handlers.seats import REFUSALS, How, Joined
from router.core.addresses import Address, Channel
from router.core.classic.resources import ClassicState, NewClassicParticipant, is_already_there
from router.core.errors import ConflictError, NotFoundError, RequestError, UnavailableError, had_no_effect
from router.core.timestamps import to_microseconds

if TYPE_CHECKING:
    from handlers.seats import Seat
    from router.conversations import ClassicConversations
    from router.core.classic.resources import ClassicMessage
    from router.streams.store.ledgers import Store

#: As whom the AI agent sits and writes.
AI_IDENTITY: Final = "ai-agent"


class ClassicJoiner:
    """Joins classic conversations of one account; `service_sid` None is its default service.

    Raises the client's ApiError where the API is away or refuses for good.
    """

    def __init__(self, client: ClassicConversations, store: Store, *, service_sid: str | None = None) -> None:
        self._client = client
        self._store = store
        self._service_sid = service_sid

    async def join(self, account_id: str, conversation_sid: str, seat: Seat) -> Joined:
        """Take the seat, which is an identity; one at a number is TAKEN. Safe to repeat."""
        if seat.address.channel != Channel.CHAT:
            return Joined(how=How.TAKEN)
        try:
            return await self._enter(account_id, conversation_sid, seat.address)
        except REFUSALS:
            ending = await self.ending(conversation_sid)
            if ending is None:
                raise
            return Joined(how=ending)

    async def ending(self, conversation_sid: str) -> How | None:
        """Return how a conversation has ended, None if it is open."""
        try:
            conversation = await self._client.fetch_conversation(conversation_sid, service_sid=self._service_sid)
        except NotFoundError:
            return How.GONE
        return How.CLOSED if conversation.state == ClassicState.CLOSED else None

    async def _enter(self, account_id: str, conversation_sid: str, address: Address) -> Joined:
        await self._store.add_own_addresses(account_id, [address])
        member = NewClassicParticipant(identity=address.value)
        try:
            created = await self._client.create_participant(conversation_sid, member, service_sid=self._service_sid)
        except (RequestError, NotFoundError, ConflictError, UnavailableError) as error:
            if isinstance(error, UnavailableError) and had_no_effect(error):
                raise
            # It is there already, or the answer was lost, or (an oddity of the API) a 404 hides that it was done.
            seen = await self._find(conversation_sid, address.value)
            if seen is None:
                raise
            return Joined(how=How.ADOPTED if is_already_there(error) else How.JOINED, participant_id=seen)
        return Joined(how=How.JOINED, participant_id=created.sid)

    async def _find(self, conversation_sid: str, identity: str) -> str | None:
        try:
            found = await self._client.fetch_participant(conversation_sid, identity, service_sid=self._service_sid)
        except NotFoundError:
            return None
        return found.sid


class ClassicText:
    """One text from `author`, an identity of ours, to everybody else in a classic conversation.

    `since` (µs) is when it can have been written at the earliest.
    """

    def __init__(
        self,
        client: ClassicConversations,
        conversation_sid: str,
        *,
        author: str,
        text: str,
        since: int,
        service_sid: str | None = None,
    ) -> None:
        self._client = client
        self._conversation_sid = conversation_sid
        self._author = author
        self._text = text
        self._since = since // 1_000_000 * 1_000_000  # times of the API have whole seconds
        self._service_sid = service_sid

    async def send(self) -> str:
        """Write it."""
        await self._client.create_message(
            self._conversation_sid, author=self._author, body=self._text, service_sid=self._service_sid
        )
        return "sent"

    async def is_there(self) -> bool:
        """Tell whether the conversation holds it; the newest messages are looked at until they are too old."""
        async for message in self._client.list_messages(self._conversation_sid, service_sid=self._service_sid):
            written = to_microseconds(message.date_created)
            if written is not None and written < self._since:
                return False
            if self._is_it(message):
                return True
        return False

    def _is_it(self, message: ClassicMessage) -> bool:
        return message.author == self._author and (message.body or "").strip() == self._text.strip()
