"""The Conversations API v2: one method per operation, values in and models out.

No policy: core.resolution decides what a 409 means and which participant fits. If a create or send may have had an
effect (ServerError or TransportError), the caller must look it up, as only the caller knows what to look for. Any 2xx
is success.
https://www.twilio.com/docs/api/conversations/v2
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from router.conversations.bodies import UNSET, Unset, to_conversation, to_conversation_patch, to_message, to_participant
from router.conversations.paging import ItemT, Listing, iterate
from router.conversations.responses import to_model
from router.core.resources import Action, Communication, Configuration, Conversation, Participant, Resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from router.conversations.responses import ApiResponse
    from router.conversations.transport import Transport
    from router.core.resources import ActionParty, NewParticipant

_CONVERSATIONS: Final = "/v2/Conversations"
_CONVERSATION: Final = f"{_CONVERSATIONS}/{{conversation_id}}"
_PARTICIPANTS: Final = f"{_CONVERSATION}/Participants"
_PARTICIPANT: Final = f"{_PARTICIPANTS}/{{participant_id}}"
_COMMUNICATIONS: Final = f"{_CONVERSATION}/Communications"
_ACTIONS: Final = f"{_CONVERSATION}/Actions"
_CONFIGURATION: Final = "/v2/ControlPlane/Configurations/{configuration_id}"

#: The fields that a client may write.
WRITABLE: Final = frozenset({"type", "name", "profile_id", "addresses"})
_ResourceT = TypeVar("_ResourceT", bound=Resource)


class ConversationsV2:
    """The operations, over one Transport that the caller owns and closes.

    Every method raises the ApiError of the HTTP status (core.errors) and ServerError for an unreadable response.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create_conversation(
        self,
        configuration_id: str | None,
        participants: Sequence[NewParticipant] = (),
        *,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        configuration: Mapping[str, Any] | None = None,
    ) -> Conversation:
        """Create a conversation and its participants (at most 50), all or nothing.

        Raises ConflictError, with `conflicting_id`, if an open conversation already has these addresses.
        `configuration` is sent as it is, in the API's camelCase.
        """
        body = to_conversation(
            configuration_id, participants, name=name, metadata=metadata, configuration=configuration
        )
        return await self._call(Conversation, "POST", _CONVERSATIONS, {}, body)

    def list_conversations(
        self,
        *,
        status: Sequence[str] = (),
        channel_id: str | None = None,
        page_size: int = 50,
        limit: int | None = None,
    ) -> AsyncIterator[Conversation]:
        """Yield conversations, at most `limit`; the API has no other filters than these two.

        Items may be incomplete: fetch the one that is needed.
        """
        filters = _filters(status=[str(each) for each in status], channelId=channel_id)
        return self._iterate(Conversation, "conversations", _CONVERSATIONS, {}, filters, page_size, limit)

    async def fetch_conversation(self, conversation_id: str) -> Conversation:
        """Return one conversation."""
        return await self._call(Conversation, "GET", _CONVERSATION, {"conversation_id": conversation_id})

    async def patch_conversation(
        self,
        conversation_id: str,
        *,
        name: str | Unset | None = UNSET,
        status: str | None = None,
        metadata: Mapping[str, str | None] | None = None,
        status_callbacks: Sequence[Mapping[str, str]] | None = None,
    ) -> Conversation:
        """Change the given fields and keep the rest; `status` "CLOSED" ends the conversation.

        `name` None removes the name, a metadata value None removes its key, an empty `status_callbacks` stops all
        callbacks of this conversation.
        """
        body = to_conversation_patch(name=name, status=status, metadata=metadata, status_callbacks=status_callbacks)
        return await self._call(Conversation, "PATCH", _CONVERSATION, {"conversation_id": conversation_id}, body)

    async def create_participant(self, conversation_id: str, participant: NewParticipant) -> Participant:
        """Add a participant. Raises ConflictError if an address is taken, here or in another open conversation."""
        body = to_participant(participant)
        return await self._call(Participant, "POST", _PARTICIPANTS, {"conversation_id": conversation_id}, body)

    async def list_participants(self, conversation_id: str, page_size: int = 1000) -> list[Participant]:
        """Return all participants, from all pages; the API has no filter for them."""
        ids = {"conversation_id": conversation_id}
        return [each async for each in self._iterate(Participant, "participants", _PARTICIPANTS, ids, {}, page_size)]

    async def fetch_participant(self, conversation_id: str, participant_id: str) -> Participant:
        """Return one participant."""
        ids = {"conversation_id": conversation_id, "participant_id": participant_id}
        return await self._call(Participant, "GET", _PARTICIPANT, ids)

    async def update_participant(
        self, conversation_id: str, participant_id: str, participant: NewParticipant
    ) -> Participant:
        """Replace a participant (PUT): type, name, profile and addresses become exactly those of `participant`.

        Fields that are None there are cleared. Raises ConflictError if the result collides with another conversation.
        """
        ids = {"conversation_id": conversation_id, "participant_id": participant_id}
        return await self._call(Participant, "PUT", _PARTICIPANT, ids, to_participant(participant))

    async def modify_participant(self, conversation_id: str, participant_id: str, **changes: Any) -> Participant:
        """Fetch a participant and put it back with `changes` (`type`, `name`, `profile_id`, `addresses`).

        Raises TypeError for any other name. Known gap: the API has no version to compare, so of two concurrent writers
        the last one wins.
        """
        if unknown := changes.keys() - WRITABLE:
            raise TypeError(f"a participant has no writable {', '.join(sorted(unknown))}")
        current = await self.fetch_participant(conversation_id, participant_id)
        return await self.update_participant(conversation_id, participant_id, current.as_replacement(**changes))

    async def create_action(
        self,
        conversation_id: str,
        payload: Mapping[str, Any],
        *,
        type: str = "SEND_MESSAGE",  # noqa: A002 # wire name
    ) -> Action:
        """Start an action; `payload` is sent as it is. The action is PENDING, later COMPLETED or FAILED."""
        body = {"type": type, "payload": payload}
        return await self._call(Action, "POST", _ACTIONS, {"conversation_id": conversation_id}, body)

    async def send_message(
        self,
        conversation_id: str,
        sender: ActionParty,
        to: Sequence[ActionParty],
        *,
        text: str | None = None,
        content_id: str | None = None,
        variables: Mapping[str, str] | None = None,
        media_urls: Sequence[str] = (),
        channel_settings: Mapping[str, Any] | None = None,
    ) -> Action:
        """Send a message from one participant to others; SMS, RCS, WHATSAPP and CHAT can send, VOICE cannot.

        Raises ValueError for a message without receiver or content. Never repeated if it may have been sent.
        """
        payload = to_message(
            sender,
            to,
            text=text,
            content_id=content_id,
            variables=variables,
            media_urls=media_urls,
            channel_settings=channel_settings,
        )
        return await self.create_action(conversation_id, payload)

    def list_communications(
        self,
        conversation_id: str,
        channel_id: str | None = None,
        *,
        page_size: int = 50,
        limit: int | None = None,
    ) -> AsyncIterator[Communication]:
        """Yield the communications of a conversation, at most `limit`, in the API's order (undocumented)."""
        ids, filters = {"conversation_id": conversation_id}, _filters(channelId=channel_id)
        return self._iterate(Communication, "communications", _COMMUNICATIONS, ids, filters, page_size, limit)

    async def fetch_configuration(self, configuration_id: str) -> Configuration:
        """Return a configuration; this client never writes one."""
        return await self._call(Configuration, "GET", _CONFIGURATION, {"configuration_id": configuration_id})

    async def _call(
        self,
        model: type[_ResourceT],
        method: str,
        path: str,
        ids: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
    ) -> _ResourceT:
        response = await self._transport.request(method, path, ids=ids, body=body)
        return to_model(model, response.data, route=f"{method} {path}", status=response.status)

    def _iterate(
        self,
        model: type[ItemT],
        key: str,
        path: str,
        ids: Mapping[str, str],
        filters: Mapping[str, str | Sequence[str]],
        page_size: int,
        limit: int | None = None,
    ) -> AsyncIterator[ItemT]:
        async def fetch(query: Mapping[str, str | Sequence[str]]) -> ApiResponse:
            return await self._transport.request("GET", path, ids=ids, query=query)

        listing = Listing(key, f"GET {path}")
        return iterate(fetch, model, listing, filters=filters, page_size=page_size, limit=limit)


def _filters(**values: str | Sequence[str] | None) -> dict[str, str | Sequence[str]]:
    return {name: value for name, value in values.items() if value}
