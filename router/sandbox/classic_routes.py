"""The classic API under /v1, each route in two variants: of the default service, and of a service by its SID.

A handler awaits the body, and where asked so a pre-action webhook, first; then it checks and writes without awaiting,
so that each write is one atomic step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from router.sandbox.bodies import parse_body
from router.sandbox.classic_conversations import (
    change_conversation,
    delete_conversation,
    make_conversation,
    open_conversation,
)
from router.sandbox.classic_errors import CONVERSATION_NOT_FOUND, PARTICIPANT_NOT_FOUND, missing, refuse
from router.sandbox.classic_events import adding_fields, conversation_fields, member_fields
from router.sandbox.classic_forms import ConversationForm, MemberForm, read_form
from router.sandbox.classic_hooks import Origin
from router.sandbox.classic_inbound import InboundBody, take_inbound
from router.sandbox.classic_members import add_member, change_member, make_member, remove_member
from router.sandbox.classic_paging import page_wire, read_query
from router.sandbox.classic_records import View, membership_wire
from router.sandbox.clock import format_time
from router.sandbox.conversations import full_wire
from router.sandbox.middlewares import STATE, json_response

if TYPE_CHECKING:
    from router.sandbox.classic_events import Fields
    from router.sandbox.classic_records import ClassicConversationRecord, ClassicMember

_SERVICE: Final = "/v1/Services/{service}"
_CONVERSATION: Final = "/Conversations/{conversation}"
_PARTICIPANTS: Final = f"{_CONVERSATION}/Participants"
_PARTICIPANT: Final = f"{_PARTICIPANTS}/{{participant}}"
_HEADER: Final = "X-Twilio-Webhook-Enabled"
_STATES: Final = frozenset({"initializing", "active", "inactive", "closed"})


async def post_conversation(request: web.Request) -> web.Response:
    """POST /Conversations."""
    form, view = await read_form(request, ConversationForm), _view(request)
    state = request.app[STATE]
    if _is_asked(request):
        fields = adding_fields(make_conversation(state, form), None)
        form = form.model_copy(update=await _ask(request, "onConversationAdd", fields))
    conversation = make_conversation(state, form)
    open_conversation(state, conversation, _origin(request))
    return json_response(conversation.to_wire(view), 201)


async def list_conversations(request: web.Request) -> web.Response:
    """GET /Conversations, of one State or between StartDate and EndDate if asked so."""
    view, records = _view(request), request.app[STATE].classic.conversations.ordered
    filters = {name: request.query.get(name) for name in ("StartDate", "EndDate", "State")}
    wanted = filters["State"]
    if wanted is not None and wanted not in _STATES:
        raise refuse(20001, f"State {wanted} is not a state")

    def accepts(each: ClassicConversationRecord) -> bool:
        day = format_time(each.created, 0)[:10]
        is_between = (filters["StartDate"] or day)[:10] <= day <= (filters["EndDate"] or day)[:10]
        return is_between and wanted in {None, each.state}

    query = read_query(request.query, f"{view.root}/Conversations", "conversations", filters)
    is_filtered = any(filters.values())
    return json_response(
        page_wire(records, query, _mark, lambda each: each.to_wire(view), accepts if is_filtered else None)
    )


async def get_conversation(request: web.Request) -> web.Response:
    """GET /Conversations/{CH or unique name}."""
    view = _view(request)
    return json_response(_conversation(request).to_wire(view))


async def update_conversation(request: web.Request) -> web.Response:
    """POST /Conversations/{CH}."""
    form, view = await read_form(request, ConversationForm), _view(request)
    changes = await _ask(request, "onConversationUpdate", conversation_fields(_conversation(request)))
    form, conversation = form.model_copy(update=changes), _conversation(request)
    change_conversation(request.app[STATE], conversation, form, _origin(request))
    return json_response(conversation.to_wire(view))


async def remove_conversation(request: web.Request) -> web.Response:
    """DELETE /Conversations/{CH}."""
    _view(request)
    await _ask(request, "onConversationRemove", conversation_fields(_conversation(request)))
    delete_conversation(request.app[STATE], _conversation(request), _origin(request))
    return web.Response(status=204)


async def post_participant(request: web.Request) -> web.Response:
    """POST Participants."""
    form, view = await read_form(request, MemberForm), _view(request)
    state = request.app[STATE]
    if _is_asked(request):
        member = make_member(state, _conversation(request), form)
        await _ask(request, "onParticipantAdd", member_fields(member, "onParticipantAdd"))
    conversation = _conversation(request)
    member = make_member(state, conversation, form)
    add_member(state, conversation, member, _origin(request))
    return json_response(member.to_wire(state.options.account_sid, view), 201)


async def list_participants(request: web.Request) -> web.Response:
    """GET Participants."""
    view, conversation = _view(request), _conversation(request)
    account_sid = request.app[STATE].options.account_sid
    url = f"{view.conversation(request.match_info['conversation'])}/Participants"
    query = read_query(request.query, url, "participants", {})
    return json_response(
        page_wire(conversation.members.ordered, query, _mark, lambda each: each.to_wire(account_sid, view))
    )


async def get_participant(request: web.Request) -> web.Response:
    """GET Participants/{MB or identity}."""
    view = _view(request)
    return json_response(_member(request).to_wire(request.app[STATE].options.account_sid, view))


async def update_participant(request: web.Request) -> web.Response:
    """POST Participants/{MB}."""
    form, view = await read_form(request, MemberForm), _view(request)
    await _ask(request, "onParticipantUpdate", member_fields(_member(request), "onParticipantUpdate"))
    state, member = request.app[STATE], _member(request)
    change_member(state, _conversation(request), member, form, _origin(request))
    return json_response(member.to_wire(state.options.account_sid, view))


async def remove_participant(request: web.Request) -> web.Response:
    """DELETE Participants/{MB}."""
    _view(request)
    await _ask(request, "onParticipantRemove", member_fields(_member(request), "onParticipantRemove"))
    remove_member(request.app[STATE], _conversation(request), _member(request), _origin(request))
    return web.Response(status=204)


async def list_participant_conversations(request: web.Request) -> web.Response:
    """GET ParticipantConversations by Address or Identity, exactly, in order of conversation SID."""
    view, state = _view(request), request.app[STATE]
    filters = {name: request.query.get(name) for name in ("Identity", "Address")}
    identity, address = filters["Identity"], filters["Address"]
    if identity and address:
        raise refuse(50451, "Identity and Address cannot be given together")
    if not identity and not address:
        raise refuse(20001, "Identity or Address is required")
    found = state.classic.memberships("identity", identity) if identity else []
    found = found or (state.classic.memberships("address", address) if address else [])
    maximum = state.options.classic_lookup_page_size
    query = read_query(request.query, f"{view.root}/ParticipantConversations", "conversations", filters, maximum)

    def make(row: tuple[ClassicConversationRecord, ClassicMember]) -> dict[str, object]:
        return membership_wire(*row, state.classic.users.get(row[1].identity or ""), view)

    return json_response(page_wire(found, query, lambda row: f"{row[0].id}/{row[1].id}", make))


async def post_inbound(request: web.Request) -> web.Response:
    """POST /sandbox/classic/inbound: 201 if it opened a conversation, else 200."""
    state, body = request.app[STATE], parse_body(await request.read(), InboundBody)
    taken = await take_inbound(state, body)
    view = View(_base(request), state.options.classic_service_sid)
    wire = {
        "outcome": taken.outcome,
        "conversation": taken.conversation.to_wire(view) if taken.conversation else None,
        "participant": taken.member.to_wire(state.options.account_sid, view) if taken.member else None,
        "message": taken.message,
        "bridged": full_wire(state, taken.bridged) if taken.bridged else None,
    }
    return json_response(wire, 201 if taken.outcome == "created" else 200)


def _base(request: web.Request) -> str:
    return f"{request.scheme}://{request.host}"


def _view(request: web.Request) -> View:
    """Return how the resources are looked at; raises RefusalError (404) for a service that is not ours."""
    service_sid = request.match_info.get("service")
    if service_sid not in {None, request.app[STATE].options.classic_service_sid}:
        raise missing(20404, f"/Services/{service_sid}", "generic")
    return View(_base(request), service_sid)


def _conversation(request: web.Request) -> ClassicConversationRecord:
    state, name = request.app[STATE], request.match_info["conversation"]
    conversation = state.classic.find(name)
    if conversation is None:
        raise missing(CONVERSATION_NOT_FOUND, f"/Conversations/{name}", state.options.classic_not_found)
    return conversation


def _member(request: web.Request) -> ClassicMember:
    """Return the member by SID, else by identity."""
    conversation, name = _conversation(request), request.match_info["participant"]
    by_identity = (each for each in conversation.members if each.identity == name)
    member = conversation.members.get(name) or next(by_identity, None)
    if member is None:
        path = f"/Conversations/{conversation.id}/Participants/{name}"
        raise missing(PARTICIPANT_NOT_FOUND, path, request.app[STATE].options.classic_not_found)
    return member


def _origin(request: web.Request) -> Origin:
    return Origin("API", is_told=request.headers.get(_HEADER, "").lower() == "true")


def _is_asked(request: web.Request) -> bool:
    """Tell whether pre-action webhooks are sent about this call: documentation says none, so a switch decides."""
    return request.app[STATE].options.classic_pre_for_api_writes and _origin(request).is_told


async def _ask(request: web.Request, event_type: str, fields: Fields) -> dict[str, str]:
    """Return what the pre-action webhook changes, if it is asked; raises RefusalError (50056) if it rejects."""
    if not _is_asked(request):
        return {}
    verdict = await request.app[STATE].classic_hooks.ask(event_type, fields, _origin(request))
    if verdict.is_rejected:
        raise refuse(50056, f"{event_type} was rejected by the pre-action webhook")
    return verdict.changes


def _mark(record: ClassicConversationRecord | ClassicMember) -> str:
    return f"{record.moment:020d}"


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
)
ROUTES: Final = (
    web.post("/sandbox/classic/inbound", post_inbound),
    *(
        web.route(method, f"{prefix}{path}", handler)
        for prefix in ("/v1", _SERVICE)
        for method, path, handler in _TABLE
    ),
)
