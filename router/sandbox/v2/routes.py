"""The public API under /v2: each handler reads the request, calls one operation and returns its result.

Handlers await the body first and never again before they return, so each write is one atomic step. Reference:
https://www.twilio.com/docs/api/conversations/v2.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from aiohttp import web

from router.core.resources import ConversationStatus
from router.sandbox.bodies import json_response, read_body
from router.sandbox.errors import invalid, not_found
from router.sandbox.indexes import moment_of
from router.sandbox.middlewares import STATE
from router.sandbox.v2.actions import complete_action, create_action, find_action
from router.sandbox.v2.bodies import (
    InlineParticipant,
    NewAction,
    NewCommunication,
    NewConversation,
    NewParticipantBody,
    PatchConversation,
    ReplaceConversation,
)
from router.sandbox.v2.communications import create_communication
from router.sandbox.v2.conversations import (
    bare_wire,
    create_conversation,
    delete_conversation,
    full_wire,
    patch_conversation,
    replace_conversation,
)
from router.sandbox.v2.operations import once
from router.sandbox.v2.paging import PageQuery, read_query, take_page
from router.sandbox.v2.participants import add_participant, replace_participant
from router.sandbox.v2.validation import check_action, check_participants, check_parties

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.sandbox.bodies import B
    from router.sandbox.v2.records import ConversationRecord

CONVERSATIONS: Final = "/v2/Conversations"
CONVERSATION: Final = "/v2/Conversations/{conversation}"
PARTICIPANTS: Final = f"{CONVERSATION}/Participants"
COMMUNICATIONS: Final = f"{CONVERSATION}/Communications"
ACTIONS: Final = f"{CONVERSATION}/Actions"


async def post_conversation(request: web.Request) -> web.Response:
    """POST /Conversations."""
    state, body = request.app[STATE], await _body(request, NewConversation)
    check_participants(state.options, body.participants or ())
    return json_response(full_wire(state, create_conversation(state, body)), 201)


async def list_conversations(request: web.Request) -> web.Response:
    """GET /Conversations by `status` (repeated, or with commas) and a `channelId` of participants or communications."""
    state, query = request.app[STATE], page_query(request, "conversations")
    statuses = [status for text in request.query.getall("status", []) for status in text.split(",")]
    if unknown := set(statuses) - set(ConversationStatus):
        raise invalid("status", f"{min(unknown)} is not a status")
    found: Sequence[ConversationRecord] = state.conversations.ordered
    if (channel_id := request.query.get("channelId")) is not None:
        owners = (state.conversations.get(owner) for owner in state.resource_ids.owners(channel_id))
        found = sorted((each for each in owners if each is not None), key=moment_of)
    page = take_page(found, query, (lambda each: each.status in statuses) if statuses else None)
    make = full_wire if state.options.embed_participants else bare_wire
    return json_response(page.to_wire("conversations", lambda each: make(state, each)))


async def get_conversation(request: web.Request) -> web.Response:
    """GET /Conversations/{id}."""
    return json_response(full_wire(request.app[STATE], _conversation(request)))


async def put_conversation(request: web.Request) -> web.Response:
    """PUT /Conversations/{id}."""
    body = await _body(request, ReplaceConversation)
    state, conversation = request.app[STATE], _open_conversation(request)
    replace_conversation(state, conversation, body)
    return json_response(full_wire(state, conversation))


async def change_conversation(request: web.Request) -> web.Response:
    """PATCH /Conversations/{id}."""
    body = await _body(request, PatchConversation)
    state, conversation = request.app[STATE], _open_conversation(request)
    patch_conversation(state, conversation, body)
    return json_response(full_wire(state, conversation))


async def remove_conversation(request: web.Request) -> web.Response:
    """DELETE /Conversations/{id}: 202 with an operation, the same one for the same `Idempotency-Key`."""
    state = request.app[STATE]
    return once(request, lambda: delete_conversation(state, _conversation(request)))


async def post_participant(request: web.Request) -> web.Response:
    """POST Participants."""
    body = await _body(request, NewParticipantBody)
    state = request.app[STATE]
    check_participants(state.options, [body])
    participant = add_participant(state, _open_conversation(request), body)
    return json_response(state.participant_wire(participant), 201)


async def list_participants(request: web.Request) -> web.Response:
    """GET Participants."""
    state, conversation = request.app[STATE], _conversation(request)
    page = take_page(conversation.participants.ordered, page_query(request, f"participants/{conversation.id}"))
    return json_response(page.to_wire("participants", state.participant_wire))


async def get_participant(request: web.Request) -> web.Response:
    """GET Participants/{id}."""
    state, conversation = request.app[STATE], _conversation(request)
    participant = state.find_participant(conversation, request.match_info["participant"])
    return json_response(state.participant_wire(participant))


async def put_participant(request: web.Request) -> web.Response:
    """PUT Participants/{id}."""
    body = await _body(request, InlineParticipant)
    state, conversation = request.app[STATE], _open_conversation(request)
    check_participants(state.options, [body])
    participant = state.find_participant(conversation, request.match_info["participant"])
    return json_response(state.participant_wire(replace_participant(state, conversation, participant, body)))


async def post_communication(request: web.Request) -> web.Response:
    """POST Communications."""
    body = await _body(request, NewCommunication)
    state = request.app[STATE]
    check_parties(state.options, (body.author, *body.recipients))
    return json_response(create_communication(state, _open_conversation(request), body).to_wire(state.text), 201)


async def list_communications(request: web.Request) -> web.Response:
    """GET Communications, optionally of one `channelId`."""
    state, conversation = request.app[STATE], _conversation(request)
    channel_id = request.query.get("channelId")
    page = take_page(
        conversation.communications.ordered,
        page_query(request, f"communications/{conversation.id}"),
        None if channel_id is None else lambda each: channel_id in {each.channel_id, each.resource_id},
    )
    return json_response(page.to_wire("communications", lambda each: each.to_wire(state.text)))


async def get_communication(request: web.Request) -> web.Response:
    """GET Communications/{id}."""
    state, communication_id = request.app[STATE], request.match_info["communication"]
    communication = _conversation(request).communications.get(communication_id)
    if communication is None:
        raise not_found("Communication", communication_id)
    return json_response(communication.to_wire(state.text))


async def post_action(request: web.Request) -> web.Response:
    """POST Actions: 202; the action completes right after the response (switch: later)."""
    body = await _body(request, NewAction)
    state, conversation = request.app[STATE], _open_conversation(request)
    check_action(state.options, body.payload)
    action, utterance = create_action(state, conversation, body)
    delay = state.options.action_delay_seconds
    asyncio.get_running_loop().call_later(delay, complete_action, state, conversation, action, utterance)
    return json_response(action.to_wire(state.text), 202)


async def get_action(request: web.Request) -> web.Response:
    """GET Actions/{id}."""
    state = request.app[STATE]
    return json_response(find_action(_conversation(request), request.match_info["action"]).to_wire(state.text))


async def _body(request: web.Request, model: type[B]) -> B:
    return await read_body(request, model, form_status=request.app[STATE].options.form_status)


def page_query(request: web.Request, listing: str) -> PageQuery:
    """Read the paging parameters of a list; raises RefusalError (400)."""
    options = request.app[STATE].options
    query = read_query(request.query, listing, is_descending=options.list_order == "descending")
    return replace(query, size=min(query.size, options.list_page_limit), is_counted=options.page_tokens == "count")


def _conversation(request: web.Request) -> ConversationRecord:
    return request.app[STATE].find_conversation(request.match_info["conversation"])


def _open_conversation(request: web.Request) -> ConversationRecord:
    return request.app[STATE].find_open(request.match_info["conversation"])


ROUTES: Final = (
    web.post(CONVERSATIONS, post_conversation),
    web.get(CONVERSATIONS, list_conversations),
    web.get(CONVERSATION, get_conversation),
    web.put(CONVERSATION, put_conversation),
    web.patch(CONVERSATION, change_conversation),
    web.delete(CONVERSATION, remove_conversation),
    web.post(PARTICIPANTS, post_participant),
    web.get(PARTICIPANTS, list_participants),
    web.get(f"{PARTICIPANTS}/{{participant}}", get_participant),
    web.put(f"{PARTICIPANTS}/{{participant}}", put_participant),
    web.post(COMMUNICATIONS, post_communication),
    web.get(COMMUNICATIONS, list_communications),
    web.get(f"{COMMUNICATIONS}/{{communication}}", get_communication),
    web.post(ACTIONS, post_action),
    web.get(f"{ACTIONS}/{{action}}", get_action),
)
