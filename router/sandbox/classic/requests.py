"""The parts of a request that every route of the classic API reads: service, conversation, and webhook header."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.sandbox.classic.errors import CONVERSATION_NOT_FOUND, missing, refuse
from router.sandbox.classic.records import ResourceUrls
from router.sandbox.classic.webhooks import Origin
from router.sandbox.middlewares import STATE

if TYPE_CHECKING:
    from aiohttp import web

    from router.sandbox.classic.records import ClassicConversationRecord, Fields
    from router.sandbox.indexes import IndexEntry

_HEADER: Final = "X-Twilio-Webhook-Enabled"


def base_of(request: web.Request) -> str:
    """Return scheme and host of the URLs in responses."""
    return f"{request.scheme}://{request.host}"


def urls_of(request: web.Request) -> ResourceUrls:
    """Return the URLs of the request's variant; raises RefusalError (404) for an unknown service."""
    service_sid = request.match_info.get("service")
    if service_sid not in {None, request.app[STATE].options.classic_service_sid}:
        raise missing(20404, f"/Services/{service_sid}", "generic")
    return ResourceUrls(base_of(request), service_sid)


def conversation_of(request: web.Request) -> ClassicConversationRecord:
    """Return the conversation that the path names by SID or unique name; raises RefusalError (404)."""
    state, name = request.app[STATE], request.match_info["conversation"]
    conversation = state.classic.find(name)
    if conversation is None:
        raise missing(CONVERSATION_NOT_FOUND, f"/Conversations/{name}", state.options.classic_not_found)
    return conversation


def origin_of(request: web.Request) -> Origin:
    """Return the origin of the request's events: the REST API, with webhooks only if a header enables them."""
    return Origin("API", has_webhooks=request.headers.get(_HEADER, "").lower() == "true")


def is_asked(request: web.Request) -> bool:
    """Tell whether pre-action webhooks are sent for this call: a switch, since the documentation says no."""
    return request.app[STATE].options.classic_pre_for_api_writes and origin_of(request).has_webhooks


async def ask(request: web.Request, event_type: str, fields: Fields) -> dict[str, str]:
    """Return the changes of the pre-action webhook, if it is asked; raises RefusalError (50056) if it rejects."""
    if not is_asked(request):
        return {}
    verdict = await request.app[STATE].classic_webhooks.ask(event_type, fields, origin_of(request))
    if verdict.is_rejected:
        raise refuse(50056, f"{event_type} was rejected by the pre-action webhook")
    return verdict.changes


def mark_of(record: IndexEntry) -> str:
    """Return the mark by which the records of a list are ordered, in page tokens."""
    return f"{record.moment:020d}"
