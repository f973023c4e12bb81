"""Puts the sandbox together: one aiohttp application with its memory, its deliverer and its timers.

Nothing is shared between two applications, so several sandboxes can live in one process.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from aiohttp import web

from router.sandbox import admin
from router.sandbox.admin import DELIVERER
from router.sandbox.callbacks import Deliverer
from router.sandbox.classic.conversations import run_classic_timers
from router.sandbox.classic.hooks import ClassicHooks
from router.sandbox.classic.middleware import treat_classic
from router.sandbox.clock import system_clock
from router.sandbox.faults import Faults
from router.sandbox.middlewares import COUNTS, FAULTS, MIDDLEWARES, RATE, STATE, Rate
from router.sandbox.state import SandboxState
from router.sandbox.v2 import routes
from router.sandbox.v2.conversations import run_timers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.sandbox.clock import Clock
    from router.sandbox.options import SandboxOptions

#: More than the longest text of a communication (8,388,608 characters).
MAX_BODY: Final = 16 * 1024 * 1024
#: Seconds between two looks at the timers when no request comes.
TICK: Final = 1.0


def create_app(
    options: SandboxOptions, *, clock: Clock | None = None, entropy: random.Random | None = None
) -> web.Application:
    """Return a sandbox as an application.

    `clock` returns microseconds since 1970; `entropy` makes ids, tokens and chance, and is seeded by a test that
    wants the same run twice.
    """
    chance = entropy or random.Random()  # noqa: S311 # made-up ids and chance, no secrets
    deliverer = Deliverer(chance)
    hooks = ClassicHooks(chance)
    outermost, *inner = MIDDLEWARES
    app = web.Application(middlewares=(outermost, treat_classic, *inner), client_max_size=MAX_BODY)
    app[STATE] = SandboxState(options, clock or system_clock, chance, deliverer, hooks)
    app[DELIVERER] = deliverer
    app[FAULTS] = Faults(chance)
    app[COUNTS] = Counter()
    app[RATE] = Rate()
    app.add_routes([*routes.ROUTES, *admin.ROUTES])
    app.cleanup_ctx.append(_live)
    app.on_shutdown.append(_let_go)
    return app


async def _live(app: web.Application) -> AsyncIterator[None]:
    """Deliver callbacks and run timers for as long as the application serves."""
    hooks = app[STATE].classic_hooks
    for deliverer in (app[DELIVERER], hooks):
        await deliverer.start(lambda: app[STATE].options, app[STATE].now)
    ticker = asyncio.create_task(_tick(app[STATE]))
    yield
    ticker.cancel()
    with suppress(asyncio.CancelledError):
        await ticker
    await app[DELIVERER].close()
    await hooks.close()


async def _tick(state: SandboxState) -> None:
    while True:
        await asyncio.sleep(TICK)
        run_timers(state)
        run_classic_timers(state)


async def _let_go(app: web.Application) -> None:
    """Release requests that hang by a fault, so that the server can end."""
    app[FAULTS].clear()
