"""Drives a resolution: performs each request it yields with the client, and sends the answer back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.core.errors import ApiError
from router.core.participants import ConversationStatus
from router.core.requests import (
    CreateConversation,
    CreateParticipant,
    FetchConversation,
    FetchParticipant,
    FindConversations,
    ListParticipants,
    ReplaceParticipant,
)

if TYPE_CHECKING:
    from router.conversations.v2 import ConversationsV2
    from router.core.requests import Outcome, Request
    from router.core.resolution import Resolution

_OPEN: Final = (ConversationStatus.ACTIVE, ConversationStatus.INACTIVE)


async def perform(client: ConversationsV2, request: Request) -> Any:
    """Return the answer to a request, an ApiError as a value."""
    try:
        return await _call(client, request)
    except ApiError as error:
        return error


async def _call(client: ConversationsV2, request: Request) -> Any:  # noqa: PLR0911 - one return per kind of request
    match request:
        case CreateConversation():
            return await client.create_conversation(request.configuration_id, request.participants)
        case FetchConversation():
            return await client.fetch_conversation(request.conversation_id)
        case FindConversations():
            found = client.list_conversations(status=_OPEN, channel_id=request.channel_id, page_size=200)
            return [conversation async for conversation in found]
        case ListParticipants():
            return await client.list_participants(request.conversation_id)
        case FetchParticipant():
            return await client.fetch_participant(request.conversation_id, request.participant_id)
        case CreateParticipant():
            return await client.create_participant(request.conversation_id, request.participant)
        case ReplaceParticipant():
            return await client.update_participant(request.conversation_id, request.participant_id, request.participant)


async def drive(client: ConversationsV2, resolution: Resolution) -> Outcome:
    """Run a resolution to its outcome."""
    request = next(resolution)
    while True:
        answer = await perform(client, request)
        try:
            request = resolution.send(answer)
        except StopIteration as stop:
            outcome: Outcome = stop.value
            return outcome
