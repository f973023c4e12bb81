"""Requests without a route: authentic webhooks among them are kept for replay, and told their right URL.

A number set to GET, a slash at the end, another case of the path: Twilio signs such a request for the URL that it
calls, and does not repeat it after a 404 or 405. If the signature is valid, the quarantine keeps the webhook under the
reason `route`, and the right URL stands in the answer (which Twilio's debugger shows), in the log and in the
quarantine. Any other request is answered by its status only, and nothing of it is kept. Reading and checking have the
limits of a webhook that is refused; shadow mode does not apply.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from aiohttp import web

from router import metrics
from router.core.errors import NotDurableError, RouteError, SignatureError, WebhookError
from router.core.events import SourceName
from router.core.printable import masked
from router.inbound.email.multipart import MULTIPART
from router.inbound.nearest import find_nearest
from router.inbound.sources import FORM, FORM_BYTES, JSON_BYTES, SOURCES
from router.logs import log
from router.receiver.authentication import AcceptedWebhook, RefusalContext
from router.receiver.bodies import read_arrived
from router.receiver.refusals import make_refused
from router.receiver.requests import RawRequest, media_type, raw_path_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from multidict import MultiMapping

    from router.core.accounts import Account
    from router.inbound.sources import Source
    from router.inbound.webhook import Webhook
    from router.receiver.authentication import SignatureAuthenticator, Steps
    from router.receiver.mail_authentication import MailAuthenticator
    from router.receiver.refusals import Quarantine

OPERATORS: Final = ("/healthz", "/readyz", "/metrics")
#: Neither text that Twilio sends to a customer, nor TwiML (https://www.rfc-editor.org/rfc/rfc9457).
_PROBLEM: Final = "application/problem+json"
_MAIL: Final = SOURCES[SourceName.EMAIL]


class MisroutedAuthenticator:
    """Checks webhooks whatever their path and method are, with the secrets and limits of their authenticators.

    `base` is PUBLIC_BASE_URL as base_urls has it. A proxy that does not remove its path makes every request one without
    a route.
    """

    def __init__(self, signed: SignatureAuthenticator, mail: MailAuthenticator, base: bytes) -> None:
        self._signed = signed
        self._mail = mail
        self.base = base.decode()

    async def prove(self, request: web.Request, context: RefusalContext) -> Source:
        """Return the source that an authentic request was meant for; raises WebhookError, NotDurableError."""
        kind = _type_of(request.headers)
        if kind == MULTIPART:
            self._mail.require_proof(request.headers)
            await self._mail.authenticate(request, _MAIL, context)
            return _MAIL
        self._signed.require_shape(request.headers)
        limit = self._signed.limit(FORM_BYTES if kind == FORM else JSON_BYTES)
        async with self._signed.in_flight.received(request, limit, read_arrived(request, limit)) as body:
            context.body = body
            raw = RawRequest(raw_path_of(request), request.headers, body)
            return await self._signed.share.run(self._find(raw, context))

    async def recheck(
        self, raw: RawRequest, source: Source, context: RefusalContext, *, is_trusted: bool = False
    ) -> AcceptedWebhook:
        """Check a stored request again as one of `source`, as Authenticator.recheck does."""
        if source is _MAIL:
            return await self._mail.recheck(raw, source, context, is_trusted=is_trusted)
        return await self._signed.share.run(self._check(raw, source, context, is_trusted=is_trusted))

    def _find(self, raw: RawRequest, context: RefusalContext) -> Steps[Source]:
        account, webhook = yield from self._verify(raw, context)
        return find_nearest(raw.raw_path.partition(b"?")[0], webhook, account.sid)

    def _check(
        self, raw: RawRequest, source: Source, context: RefusalContext, *, is_trusted: bool
    ) -> Steps[AcceptedWebhook]:
        try:
            account, webhook = yield from self._verify(raw, context)
        except SignatureError:
            if not is_trusted:
                raise
            posted = raw if raw.body else RawRequest(b"", raw.headers, raw.raw_path.partition(b"?")[2])
            account, webhook = yield from self._signed.read_unverified(posted, source, context)
        pieces, note = self._signed.split(webhook, source, account)
        return AcceptedWebhook(pieces, note=note)

    def _verify(self, raw: RawRequest, context: RefusalContext) -> Steps[tuple[Account, Webhook]]:
        """Return the account and the webhook; the form of a request without a body is its query."""
        raw = RawRequest(without_prefix(raw.raw_path, self.base), raw.headers, raw.body)
        if not raw.body:
            return (yield from self._signed.verify_query(raw, context))
        if _type_of(raw.headers) == FORM:
            return (yield from self._signed.verify_form(raw, context))
        return (yield from self._signed.verify_json(raw, context))


class Misrouted:
    """Answers all requests without a route. `clock` gives microseconds since 1970."""

    def __init__(self, authenticator: MisroutedAuthenticator, quarantine: Quarantine, clock: Callable[[], int]) -> None:
        self._authenticator = authenticator
        self._quarantine = quarantine
        self._clock = clock

    async def handle(self, request: web.Request) -> web.Response:
        """Answer 404 or 405, with a log line in every case: a wrong URL at Twilio loses messages."""
        received_at, context = self._clock(), RefusalContext()
        path = request.rel_url.raw_path  # not decoded, or another path could look like one of the routes
        exact = next((source for source in SOURCES.values() if source.path == path), None)
        status, result = (405, "method") if exact or path in OPERATORS else (404, "path")
        allow = {"Allow": "POST" if exact else "GET, HEAD"} if status == HTTPStatus.METHOD_NOT_ALLOWED else None
        name, reason, body = exact.name if exact else "none", f"{request.method[:16]} has no route there", b""
        try:
            nearest = await self._authenticator.prove(request, context)
        except (WebhookError, NotDurableError):
            pass  # a stranger learns nothing more
        else:
            fault = route_fault(request.method, raw_path_of(request), nearest, self._authenticator.base)
            error = RouteError(f"authentic, but {fault}", status)
            self._quarantine.put(make_refused(request, nearest, error, context, received_at))
            name, result, reason = nearest.name, error.reason, masked(str(error), has_ids=False)
            body = _render(status, str(error))
        metrics.count("router_webhooks", name, str(status), result)
        log("webhook", level="warning", source=name, status=status, result=result, reason=reason)
        return web.Response(status=status, headers=allow, body=body, content_type=_PROBLEM if body else None)


def without_prefix(raw_path: bytes, base: str) -> bytes:
    """Return a path without that of PUBLIC_BASE_URL, which a proxy should have removed; `base` is from base_urls."""
    prefix = urlsplit(base).path.encode()
    return raw_path.removeprefix(prefix) if raw_path.startswith(prefix + b"/") else raw_path


def route_fault(method: str, raw_path: bytes, source: Source, base: str) -> str | None:
    """Describe the fault in method or path of a webhook for `source`, and its remedy; None if it has a route.

    `base` is from base_urls.
    """
    url, path, prefix = f"{base}{source.path}", raw_path.partition(b"?")[0], urlsplit(base).path
    routes = [one.path.encode() for one in SOURCES.values()]
    if method == "POST" and path in routes:
        return None
    if method == "POST" and prefix and path == f"{prefix}{source.path}".encode():
        return f"the path has the prefix of POST {url}: the proxy must remove {prefix}"
    fault = f"{method[:16]} is not the method" if path in routes else "this is not the URL"
    return f"{fault} of a route: set POST {url} at {'SendGrid' if source is _MAIL else 'Twilio'}"


def _render(status: int, detail: str) -> bytes:
    return json.dumps({"title": HTTPStatus(status).phrase, "status": status, "detail": detail}).encode()


def _type_of(headers: MultiMapping[str]) -> str:
    return media_type(headers.get("Content-Type", ""))
