"""Advice about one refused request: why its signature does not match, or what is wrong with its URL or method."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from router.core.errors import UnreadableError
from router.core.events import SourceName
from router.core.signing.form import NO_FORM, parse_form
from router.core.signing.twilio import base_urls
from router.inbound.nearest import find_nearest
from router.inbound.sources import SOURCES
from router.inbound.webhook import Webhook
from router.operations.request_text import RequestText, join_headers
from router.operations.signatures import SignedRequest, explain
from router.receiver.misrouted import route_fault, without_prefix

if TYPE_CHECKING:
    from router.core.refused import Refused
    from router.inbound.sources import Source
    from router.operations.signatures import Explanation
    from router.settings.model import Settings


def request_of(refused: Refused) -> RequestText:
    """Return the request of a refused webhook."""
    return RequestText(refused.method, refused.raw_path, join_headers(refused.headers), refused.body)


def advise(request: RequestText, settings: Settings) -> Explanation:
    """Return the explanation of a request with these settings: the fault of its URL first, then of its signature.

    It tries many combinations, which takes up to a second of computing; it needs PUBLIC_BASE_URL.
    """
    base = base_urls(settings.public_base_url or "")[0].decode()
    raw_path = without_prefix(request.raw_path, base)
    signed = SignedRequest(raw_path, request.headers, request.body, _is_form(request))
    explanation = explain(signed, settings.public_base_url or "", settings.accounts)
    fault = route_fault(request.method, request.raw_path, _find_source(signed), base)
    if fault is None:
        return explanation
    return replace(explanation, lines=(f"{fault[:1].upper()}{fault[1:]}.", *explanation.lines))


def _find_source(request: SignedRequest) -> Source:
    """Return the source that the request was meant for, judged by what it contains: it may be unproven."""
    if any(name.startswith("x-twilio-email-") for name in request.headers):
        return SOURCES[SourceName.EMAIL]
    path, _, query = request.raw_path.partition(b"?")
    body = request.body or query
    try:
        form = parse_form(body) if request.is_form else NO_FORM
    except UnreadableError:
        form = NO_FORM
    return find_nearest(path, Webhook(body, form, None), "")


def _is_form(request: RequestText) -> bool:
    content_type = request.headers.get("content-type", "").lower()
    if "urlencoded" in content_type or "json" in content_type:
        return "urlencoded" in content_type
    return b"bodySHA256=" not in request.raw_path
