"""What every route of the classic API asks of a request: through which service it looks, at what, and who is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.sandbox.classic.errors import CONVERSATION_NOT_FOUND, missing, refuse
from router.sandbox.classic.hooks import Origin
from router.sandbox.classic.records import View
from router.sandbox.middlewares import STATE

if TYPE_CHECKING:
    from aiohttp import web

    from router.sandbox.classic.records import ClassicConversationRecord, Fields
    from router.sandbox.indexes import IndexEntry

_HEADER: Final = "X-Twilio-Webhook-Enabled"


def base_of(request: web.Request) -> str:
    """Return scheme and host, with which the URLs in answers begin."""
    return f"{request.scheme}://{request.host}"


def view_of(request: web.Request) -> View:
    """Return how the resources are looked at; raises RefusalError (404) for a service that is not ours."""
    service_sid = request.match_info.get("service")
    if service_sid not in {None, request.app[STATE].options.classic_service_sid}:
        raise missing(20404, f"/Services/{service_sid}", "generic")
    return View(base_of(request), service_sid)


def conversation_of(request: web.Request) -> ClassicConversationRecord:
    """Return the conversation of the path, by SID or unique name; raises RefusalError (404)."""
    state, name = request.app[STATE], request.match_info["conversation"]
    conversation = state.classic.find(name)
    if conversation is None:
        raise missing(CONVERSATION_NOT_FOUND, f"/Conversations/{name}", state.options.classic_not_found)
    return conversation


def origin_of(request: web.Request) -> Origin:
    """Return who causes what the request does: the REST API, which is told of only where asked so."""
    return Origin("API", is_told=request.headers.get(_HEADER, "").lower() == "true")


def is_asked(request: web.Request) -> bool:
    """Tell whether pre-action webhooks are sent about this call: documentation says none, so a switch decides."""
    return request.app[STATE].options.classic_pre_for_api_writes and origin_of(request).is_told


async def ask(request: web.Request, event_type: str, fields: Fields) -> dict[str, str]:
    """Return what the pre-action webhook changes, if it is asked; raises RefusalError (50056) if it rejects."""
    if not is_asked(request):
        return {}
    verdict = await request.app[STATE].classic_hooks.ask(event_type, fields, origin_of(request))
    if verdict.is_rejected:
        raise refuse(50056, f"{event_type} was rejected by the pre-action webhook")
    return verdict.changes


def mark(record: IndexEntry) -> str:
    """Return what the records of a list are in order of."""
    return f"{record.moment:020d}"
