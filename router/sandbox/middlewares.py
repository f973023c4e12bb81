"""Middlewares around every request, outermost first.

`answer_errors` turns errors into response bodies, `count_and_inject` counts requests of the public API and applies
faults, `authenticate` checks credentials and the rate limit and runs timers that are due. The two versions of the
public API differ in two ways: classic errors have one shape unless a switch names another, and classic timers run
before classic requests only.
"""

from __future__ import annotations

import hmac
import logging
from base64 import b64decode
from collections import Counter
from typing import TYPE_CHECKING, Final

from aiohttp import web

from router.sandbox.bodies import json_response
from router.sandbox.classic.conversations import run_classic_timers
from router.sandbox.clock import SECOND
from router.sandbox.errors import RefusalError, render
from router.sandbox.faults import Faults, apply_fault, churn
from router.sandbox.state import SandboxState
from router.sandbox.v2.conversations import run_timers

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from router.sandbox.options import SandboxOptions

CLASSIC: Final = "/v1/"
PUBLIC: Final = (CLASSIC, "/v2/")
#: Paths that need no credentials.
OPEN: Final = frozenset({"/healthz"})

log = logging.getLogger(__name__)


class RateLimit:
    """Counts the requests of the current second of the sandbox's time."""

    def __init__(self) -> None:
        self._second = 0
        self._count = 0

    def take(self, now: int, limit: int) -> None:
        """Count one request; raises RefusalError (429) for more than `limit` per second. 0 disables the limit."""
        if now // SECOND != self._second:
            self._second, self._count = now // SECOND, 0
        self._count += 1
        if limit and self._count > limit:
            raise RefusalError(429, "Too many requests", headers={"Retry-After": "1"})


STATE: Final = web.AppKey("state", SandboxState)
FAULTS: Final = web.AppKey("faults", Faults)
COUNTS: Final = web.AppKey("counts", Counter[str])
RATE_LIMIT: Final = web.AppKey("rate_limit", RateLimit)


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn exceptions into response bodies, and name the request in every response."""
    state = request.app[STATE]
    try:
        response = await handler(request)
    except RefusalError as refusal:
        response = _refuse(request, refusal)
    except web.HTTPException as error:
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        response = _refuse(request, RefusalError(error.status, f"{request.path}: {error.reason}", headers=allow))
    except Exception:
        log.exception("sandbox failed on %s %s", request.method, route_of(request))
        response = _refuse(request, RefusalError(500, "Internal error of the sandbox"))
    if not response.prepared:
        response.headers["Twilio-Request-Id"] = f"RQ{state.entropy.getrandbits(128):032x}"
    return response


@web.middleware
async def count_and_inject(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count a request of the public API and apply the fault that matches it."""
    if not request.path.startswith(PUBLIC):
        return await handler(request)
    faults, route = request.app[FAULTS], route_of(request)
    request.app[COUNTS][f"{request.method} {route}"] += 1
    if not faults.is_armed:
        return await handler(request)
    body = await request.read()  # a request that was sent has its effect, even if its caller disconnects meanwhile
    text = " ".join((request.path, *request.query.values(), body.decode(errors="replace")))
    fault = faults.take(request.method, route, text)
    if fault is None:
        return await handler(request)
    response = await apply_fault(faults, fault, request, lambda: handler(request))
    if fault.churn is not None:
        churn(request.app[STATE], request.match_info.get("conversation", ""), fault.churn)
    return response


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Require the account's credentials (API key, or account SID and token) and hold the rate limit."""
    state = request.app[STATE]
    if request.path not in OPEN:
        if not is_authentic(request.headers.get("Authorization", ""), state.options):
            headers = {"WWW-Authenticate": 'Basic realm="Twilio API"'}
            raise RefusalError(401, "Authenticate", headers=headers)
        if request.path.startswith(PUBLIC):
            request.app[RATE_LIMIT].take(state.clock.now(), state.options.rate_limit_per_second)
        if request.path.startswith(CLASSIC):
            run_classic_timers(state)
        run_timers(state)
    return await handler(request)


def is_authentic(header: str, options: SandboxOptions) -> bool:
    """Tell whether the Authorization header holds one of the two pairs; compares in constant time."""
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


def route_of(request: web.Request) -> str:
    """Return the template of the request's route, or `unmatched`."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "unmatched"


def _refuse(request: web.Request, refusal: RefusalError) -> web.Response:
    shape = request.app[STATE].options.error_shape
    if shape == "auto" and request.path.startswith(CLASSIC):
        shape = "A"
    return json_response(render(refusal, shape), refusal.status, refusal.headers)


MIDDLEWARES: Final = (answer_errors, count_and_inject, authenticate)
