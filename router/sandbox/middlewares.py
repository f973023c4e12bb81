"""What happens to every request around its handler.

Outermost first: errors become bodies, requests of the public API are counted, faults happen to them, credentials and
the rate are checked, due timers run.
"""

from __future__ import annotations

import hmac
import logging
from base64 import b64decode
from collections import Counter
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import web

from router.sandbox.churn import churn
from router.sandbox.clock import SECOND
from router.sandbox.errors import RefusalError, render
from router.sandbox.faults import Faults, suffer
from router.sandbox.state import SandboxState
from router.sandbox.v2.conversations import run_timers

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from router.sandbox.options import SandboxOptions

STATE: Final = web.AppKey("state", SandboxState)
FAULTS: Final = web.AppKey("faults", Faults)
COUNTS: Final = web.AppKey("counts", Counter[str])

API: Final = "/v2/"
OPEN: Final = frozenset({"/healthz"})

log = logging.getLogger(__name__)


class Rate:
    """Requests of the current second of the sandbox's time."""

    def __init__(self) -> None:
        self._second = 0
        self._count = 0

    def take(self, now: int, limit: int) -> None:
        """Count one request; raises RefusalError (429) above `limit` per second, 0 for none."""
        if now // SECOND != self._second:
            self._second, self._count = now // SECOND, 0
        self._count += 1
        if limit and self._count > limit:
            raise RefusalError(429, "Too many requests", headers={"Retry-After": "1"})


RATE: Final = web.AppKey("rate", Rate)


def json_response(body: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return `body` as JSON."""
    return web.Response(
        body=orjson.dumps(body), status=status, headers=headers, content_type="application/json", charset="utf-8"
    )


def route_of(request: web.Request) -> str:
    """Return the template of the route, or `unmatched`."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "unmatched"


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what was raised into a body of the chosen shape, and name the request in every answer."""
    state = request.app[STATE]
    try:
        response = await handler(request)
    except RefusalError as refusal:
        response = _refused(state, refusal)
    except web.HTTPException as error:
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        response = _refused(state, RefusalError(error.status, f"{request.path}: {error.reason}", headers=allow))
    except Exception:
        log.exception("sandbox failed on %s %s", request.method, route_of(request))
        response = _refused(state, RefusalError(500, "Internal error of the sandbox"))
    if not response.prepared:
        response.headers["Twilio-Request-Id"] = f"RQ{state.entropy.getrandbits(128):032x}"
    return response


@web.middleware
async def count_and_suffer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count a request of the public API and let a fault happen to it."""
    if not request.path.startswith(API):
        return await handler(request)
    route = route_of(request)
    request.app[COUNTS][f"{request.method} {route}"] += 1
    fault = request.app[FAULTS].take(request.method, route)
    if fault is None:
        return await handler(request)
    await request.read()  # what a caller has sent has its effect, though the caller may be gone by then
    response = await suffer(request.app[FAULTS], fault, request, lambda: handler(request))
    if fault.churn is not None:
        churn(request.app[STATE], request.match_info.get("conversation", ""), fault.churn)
    return response


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let only the account in, by API key or by account SID and token, and no faster than the rate limit."""
    state = request.app[STATE]
    if request.path not in OPEN:
        if not is_authentic(request.headers.get("Authorization", ""), state.options):
            headers = {"WWW-Authenticate": 'Basic realm="Twilio API"'}
            raise RefusalError(401, "Authenticate", headers=headers)
        if request.path.startswith(API):
            request.app[RATE].take(state.clock.now(), state.options.rate_limit_per_second)
        run_timers(state)
    return await handler(request)


def is_authentic(header: str, options: SandboxOptions) -> bool:
    """Tell whether `Authorization` holds one of the two pairs; compares in constant time."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        given = b64decode(encoded.strip(), validate=True)
    except ValueError:
        return False
    pairs = ((options.api_key, options.api_secret), (options.account_sid, options.auth_token))
    matches = [hmac.compare_digest(given, f"{user}:{password}".encode()) for user, password in pairs]
    return any(matches)


def _refused(state: SandboxState, refusal: RefusalError) -> web.Response:
    body = render(refusal, state.options.error_shape)
    return json_response(body, refusal.status, refusal.headers)


MIDDLEWARES: Final = (answer_errors, count_and_suffer, authenticate)
