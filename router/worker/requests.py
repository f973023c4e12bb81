"""Drives a resolution: performs each request that it yields with the account's clients, and sends the answer back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from router.core.classic.members import is_classic, to_conversation
from router.core.classic.resources import OPEN_STATES, ClassicConversation
from router.core.errors import ApiError
from router.core.resolution.requests import (
    ClassicRequest,
    CreateConversation,
    CreateParticipant,
    FetchClassicConversation,
    FetchClassicParticipant,
    FetchConversation,
    FetchParticipant,
    FindClassicConversations,
    FindConversations,
    ListClassicParticipants,
    ListParticipants,
    ReplaceParticipant,
)
from router.core.resources import ConversationStatus

if TYPE_CHECKING:
    from collections.abc import Generator

    from router.conversations import ClassicConversations, ConversationsV2
    from router.core.resolution.requests import Request
    from router.core.resources import Conversation
    from router.process.apis import Api

_OutcomeT = TypeVar("_OutcomeT")
_OPEN: Final = (ConversationStatus.ACTIVE, ConversationStatus.INACTIVE)


async def perform(api: Api, request: Request | ClassicRequest) -> Any:
    """Perform a request; return its answer, or the ApiError as a value."""
    try:
        if isinstance(request, ClassicRequest):
            return await _call_classic(api.classic, request)
        return await _call(api.v2, request)
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


async def _call_classic(client: ClassicConversations, request: ClassicRequest) -> Any:
    service_sid = request.service_sid
    match request:
        case FetchClassicConversation():
            return await client.fetch_conversation(request.conversation_sid, service_sid=service_sid)
        case FetchClassicParticipant():
            sid = request.participant_sid
            return await client.fetch_participant(request.conversation_sid, sid, service_sid=service_sid)
        case ListClassicParticipants():
            return await client.list_participants(request.conversation_sid, service_sid=service_sid)
        case FindClassicConversations():
            found = client.find_conversations(
                address=request.address, proxy=request.proxy, states=OPEN_STATES, service_sid=service_sid
            )
            return [conversation async for conversation in found]


async def drive(api: Api, resolution: Generator[Request | ClassicRequest, Any, _OutcomeT]) -> _OutcomeT:
    """Run a resolution and return its outcome."""
    request = next(resolution)
    while True:
        answer = await perform(api, request)
        try:
            request = resolution.send(answer)
        except StopIteration as stop:
            outcome: _OutcomeT = stop.value
            return outcome


async def fetch_conversation(api: Api, conversation_id: str, service_sid: str | None) -> Conversation | ApiError:
    """Fetch a v2 or classic conversation; return it, or the ApiError as a value."""
    answer: Conversation | ClassicConversation | ApiError
    if is_classic(conversation_id):
        answer = await perform(api, FetchClassicConversation(conversation_id, service_sid))
    else:
        answer = await perform(api, FetchConversation(conversation_id))
    return to_conversation(answer) if isinstance(answer, ClassicConversation) else answer
