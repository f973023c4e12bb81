"""The classic API under /v1, each route in two variants: for the default service, and for a service by its SID.

A handler first awaits the body and, if one is sent, the pre-action webhook; then it checks and writes without an await,
so that each write is one atomic step. Reference: https://www.twilio.com/docs/conversations-classic/api.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from router.sandbox.bodies import json_response, parse_body
from router.sandbox.classic.conversations import (
    change_conversation,
    delete_conversation,
    make_conversation,
    open_conversation,
)
from router.sandbox.classic.errors import PARTICIPANT_NOT_FOUND, missing, refuse
from router.sandbox.classic.events import adding_fields, conversation_fields, member_fields
from router.sandbox.classic.forms import ConversationForm, MemberForm, read_form
from router.sandbox.classic.inbound import InboundBody, receive_message
from router.sandbox.classic.members import add_member, change_member, make_member, remove_member
from router.sandbox.classic.message_routes import MESSAGES
from router.sandbox.classic.paging import page_wire, read_query
from router.sandbox.classic.records import ResourceUrls, membership_wire
from router.sandbox.classic.requests import ask, base_of, conversation_of, is_asked, mark_of, origin_of, urls_of
from router.sandbox.classic.webhook_routes import WEBHOOKS
from router.sandbox.clock import format_time
from router.sandbox.middlewares import STATE
from router.sandbox.v2.conversations import full_wire

if TYPE_CHECKING:
    from router.sandbox.bodies import Wire
    from router.sandbox.classic.records import ClassicConversationRecord, ClassicMember

_SERVICE: Final = "/v1/Services/{service}"
_CONVERSATION: Final = "/Conversations/{conversation}"
_PARTICIPANTS: Final = f"{_CONVERSATION}/Participants"
_PARTICIPANT: Final = f"{_PARTICIPANTS}/{{participant}}"
_STATES: Final = frozenset({"initializing", "active", "inactive", "closed"})


async def post_conversation(request: web.Request) -> web.Response:
    """POST /Conversations."""
    form, urls = await read_form(request, ConversationForm), urls_of(request)
    state = request.app[STATE]
    if is_asked(request):
        fields = adding_fields(make_conversation(state, form), None)
        form = form.model_copy(update=await ask(request, "onConversationAdd", fields))
    conversation = make_conversation(state, form)
    open_conversation(state, conversation, origin_of(request))
    return json_response(conversation.to_wire(urls), 201)


async def list_conversations(request: web.Request) -> web.Response:
    """GET /Conversations, optionally of one State, and between StartDate and EndDate."""
    urls, records = urls_of(request), request.app[STATE].classic.conversations.ordered
    filters = {name: request.query.get(name) for name in ("StartDate", "EndDate", "State")}
    wanted = filters["State"]
    if wanted is not None and wanted not in _STATES:
        raise refuse(20001, f"State {wanted} is not a state")

    def accepts(each: ClassicConversationRecord) -> bool:
        day = format_time(each.created_at, 0)[:10]
        is_between = (filters["StartDate"] or day)[:10] <= day <= (filters["EndDate"] or day)[:10]
        return is_between and wanted in {None, each.state}

    query = read_query(request.query, f"{urls.root}/Conversations", "conversations", filters)
    is_filtered = any(filters.values())
    return json_response(
        page_wire(records, query, mark_of, lambda each: each.to_wire(urls), accepts if is_filtered else None)
    )


async def get_conversation(request: web.Request) -> web.Response:
    """GET /Conversations/{CH or unique name}."""
    urls = urls_of(request)
    return json_response(conversation_of(request).to_wire(urls))


async def update_conversation(request: web.Request) -> web.Response:
    """POST /Conversations/{CH}."""
    form, urls = await read_form(request, ConversationForm), urls_of(request)
    changes = await ask(request, "onConversationUpdate", conversation_fields(conversation_of(request)))
    form, conversation = form.model_copy(update=changes), conversation_of(request)
    change_conversation(request.app[STATE], conversation, form, origin_of(request))
    return json_response(conversation.to_wire(urls))


async def remove_conversation(request: web.Request) -> web.Response:
    """DELETE /Conversations/{CH}."""
    urls_of(request)
    await ask(request, "onConversationRemove", conversation_fields(conversation_of(request)))
    delete_conversation(request.app[STATE], conversation_of(request), origin_of(request))
    return web.Response(status=204)


async def post_participant(request: web.Request) -> web.Response:
    """POST Participants."""
    form, urls = await read_form(request, MemberForm), urls_of(request)
    state = request.app[STATE]
    if is_asked(request):
        member = make_member(state, conversation_of(request), form)
        await ask(request, "onParticipantAdd", member_fields(member, "onParticipantAdd"))
    conversation = conversation_of(request)
    member = make_member(state, conversation, form)
    add_member(state, conversation, member, origin_of(request))
    return json_response(member.to_wire(state.options.account_sid, urls), 201)


async def list_participants(request: web.Request) -> web.Response:
    """GET Participants."""
    urls, conversation = urls_of(request), conversation_of(request)
    account_sid = request.app[STATE].options.account_sid
    url = f"{urls.conversation(request.match_info['conversation'])}/Participants"
    query = read_query(request.query, url, "participants", {})
    return json_response(
        page_wire(conversation.members.ordered, query, mark_of, lambda each: each.to_wire(account_sid, urls))
    )


async def get_participant(request: web.Request) -> web.Response:
    """GET Participants/{MB or identity}."""
    urls = urls_of(request)
    return json_response(_member(request).to_wire(request.app[STATE].options.account_sid, urls))


async def update_participant(request: web.Request) -> web.Response:
    """POST Participants/{MB}."""
    form, urls = await read_form(request, MemberForm), urls_of(request)
    await ask(request, "onParticipantUpdate", member_fields(_member(request), "onParticipantUpdate"))
    state, member = request.app[STATE], _member(request)
    change_member(state, conversation_of(request), member, form, origin_of(request))
    return json_response(member.to_wire(state.options.account_sid, urls))


async def remove_participant(request: web.Request) -> web.Response:
    """DELETE Participants/{MB}."""
    urls_of(request)
    await ask(request, "onParticipantRemove", member_fields(_member(request), "onParticipantRemove"))
    remove_member(request.app[STATE], conversation_of(request), _member(request), origin_of(request))
    return web.Response(status=204)


async def list_participant_conversations(request: web.Request) -> web.Response:
    """GET ParticipantConversations: exact matches of Address or Identity, in order of conversation SID."""
    urls, state = urls_of(request), request.app[STATE]
    filters = {name: request.query.get(name) for name in ("Identity", "Address")}
    identity, address = filters["Identity"], filters["Address"]
    if identity and address:
        raise refuse(50451, "Identity and Address cannot be given together")
    if not identity and not address:
        raise refuse(20001, "Identity or Address is required")
    found = state.classic.memberships("identity", identity) if identity else []
    found = found or (state.classic.memberships("address", address) if address else [])
    maximum = state.options.classic_lookup_page_size
    query = read_query(request.query, f"{urls.root}/ParticipantConversations", "conversations", filters, maximum)

    def make(row: tuple[ClassicConversationRecord, ClassicMember]) -> Wire:
        return membership_wire(*row, state.classic.users.get(row[1].identity or ""), urls)

    return json_response(page_wire(found, query, lambda row: f"{row[0].id}/{row[1].id}", make))


async def post_inbound(request: web.Request) -> web.Response:
    """POST /sandbox/classic/inbound: 201 if it opened a conversation, else 200."""
    state, body = request.app[STATE], parse_body(await request.read(), InboundBody)
    result = await receive_message(state, body)
    urls = ResourceUrls(base_of(request), state.options.classic_service_sid)
    wire = {
        "outcome": result.outcome,
        "conversation": result.conversation.to_wire(urls) if result.conversation else None,
        "participant": result.member.to_wire(state.options.account_sid, urls) if result.member else None,
        "message": result.message,
        "bridged": full_wire(state, result.bridged) if result.bridged else None,
    }
    return json_response(wire, 201 if result.outcome == "created" else 200)


def _member(request: web.Request) -> ClassicMember:
    """Return the member that the path names by SID or identity; raises RefusalError (404)."""
    conversation, name = conversation_of(request), request.match_info["participant"]
    by_identity = (each for each in conversation.members if each.identity == name)
    member = conversation.members.get(name) or next(by_identity, None)
    if member is None:
        path = f"/Conversations/{conversation.id}/Participants/{name}"
        raise missing(PARTICIPANT_NOT_FOUND, path, request.app[STATE].options.classic_not_found)
    return member


_TABLE: Final = (
    ("POST", "/Conversations", post_conversation),
    ("GET", "/Conversations", list_conversations),
    ("GET", _CONVERSATION, get_conversation),
    ("POST", _CONVERSATION, update_conversation),
    ("DELETE", _CONVERSATION, remove_conversation),
    ("POST", _PARTICIPANTS, post_participant),
    ("GET", _PARTICIPANTS, list_participants),
    ("GET", _PARTICIPANT, get_participant),
    ("POST", _PARTICIPANT, update_participant),
    ("DELETE", _PARTICIPANT, remove_participant),
    ("GET", "/ParticipantConversations", list_participant_conversations),
    *MESSAGES,
    *WEBHOOKS,
)
ROUTES: Final = (
    web.post("/sandbox/classic/inbound", post_inbound),
    *(
        web.route(method, f"{prefix}{path}", handler)
        for prefix in ("/v1", _SERVICE)
        for method, path, handler in _TABLE
    ),
)
