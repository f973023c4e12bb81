"""What is different around a request of the classic API: counted and made to suffer like /v2, errors always shape A.

It stands inside the one that turns errors into bodies. Timers of classic conversations run before every request, and
after the admin API has moved the clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from router.sandbox.classic.conversations import run_classic_timers
from router.sandbox.errors import RefusalError, render
from router.sandbox.faults import suffer
from router.sandbox.middlewares import COUNTS, FAULTS, RATE, STATE, is_authentic, json_response, route_of

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

API: Final = "/v1/"
_CLOCK: Final = "/sandbox/clock"


@web.middleware
async def treat_classic(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count a classic request, let a fault happen to it, hold its rate and write its errors."""
    state = request.app[STATE]
    if not request.path.startswith(API):
        response = await handler(request)
        if request.path == _CLOCK:
            run_classic_timers(state)
        return response
    try:
        return await _serve(request, handler)
    except RefusalError as refusal:
        shape = "A" if state.options.error_shape == "auto" else state.options.error_shape
        return json_response(render(refusal, shape), refusal.status, refusal.headers)


async def _serve(request: web.Request, handler: Handler) -> web.StreamResponse:
    route, state = route_of(request), request.app[STATE]
    request.app[COUNTS][f"{request.method} {route}"] += 1

    async def answer() -> web.StreamResponse:
        if is_authentic(request.headers.get("Authorization", ""), state.options):
            request.app[RATE].take(state.clock.now(), state.options.rate_limit_per_second)
            run_classic_timers(state)
        return await handler(request)

    fault = request.app[FAULTS].take(request.method, route)
    return await (answer() if fault is None else suffer(request.app[FAULTS], fault, request, answer))
