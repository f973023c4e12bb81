"""Assembles a sandbox: one aiohttp application with its state, its deliverers of webhooks and its timers.

Two applications share nothing, so several sandboxes can run in one process.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from aiohttp import web

from router.sandbox import admin
from router.sandbox.classic import routes as classic_routes
from router.sandbox.classic.conversations import run_classic_timers
from router.sandbox.classic.webhooks import ClassicWebhooks
from router.sandbox.clock import system_clock
from router.sandbox.faults import Faults
from router.sandbox.memory_file import MemoryFile
from router.sandbox.middlewares import COUNTS, FAULTS, MIDDLEWARES, RATE_LIMIT, STATE, RateLimit
from router.sandbox.state import SandboxState
from router.sandbox.v2 import configuration_routes, memory_routes, routes
from router.sandbox.v2.callbacks import StatusCallbacks
from router.sandbox.v2.conversations import run_timers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from router.sandbox.clock import Clock
    from router.sandbox.options import SandboxOptions

#: More than the longest text of a communication (8,388,608 characters).
MAX_BODY: Final = 16 * 1024 * 1024
#: Seconds between two runs of the timers when there are no requests.
TIMER_PERIOD: Final = 1.0
#: Seconds that requests under way get when the sandbox ends.
GRACE: Final = 2.0


def create_app(
    options: SandboxOptions, *, clock: Clock | None = None, entropy: random.Random | None = None
) -> web.Application:
    """Create a sandbox as an application.

    `clock` returns microseconds since 1970. `entropy` makes ids, tokens and random choices; a seeded one repeats a run.
    """
    chance = entropy or random.Random()  # noqa: S311 # made-up ids and random faults, no secrets
    app = web.Application(middlewares=MIDDLEWARES, client_max_size=MAX_BODY)
    callbacks, webhooks = StatusCallbacks(chance), ClassicWebhooks(chance)
    app[STATE] = SandboxState(options, clock or system_clock, chance, callbacks, webhooks)
    app[FAULTS] = Faults(chance)
    app[COUNTS] = Counter()
    app[RATE_LIMIT] = RateLimit()
    app.add_routes(
        [*classic_routes.ROUTES, *routes.ROUTES, *configuration_routes.ROUTES, *memory_routes.ROUTES, *admin.ROUTES]
    )
    app.cleanup_ctx.append(_run_background)
    app.on_shutdown.append(_release_requests)
    return app


async def serve(
    options: SandboxOptions,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    memory: Path | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a sandbox until canceled; port 0 takes a free one, `on_ready` gets the URL once requests are accepted.

    With `memory` its conversations are kept in that file (router.sandbox.memory_file). Raises OSError for a port in
    use.
    """
    app = create_app(options)
    if memory is not None:
        file = MemoryFile(memory, app[STATE], lambda: _count_writes(app))
        file.load()
        app.cleanup_ctx.append(partial(_keep, file))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=GRACE)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        if on_ready is not None:
            on_ready(_url_of(runner))
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def _keep(file: MemoryFile, _: web.Application) -> AsyncIterator[None]:
    """Write the file for as long as the application serves, and once more at the end."""
    writing = asyncio.create_task(file.run())
    yield
    writing.cancel()
    with suppress(asyncio.CancelledError):
        await writing
    file.save()


def _count_writes(app: web.Application) -> int:
    """Return a number that changes with each request that may change something."""
    writes = sum(count for name, count in app[COUNTS].items() if not name.startswith("GET "))
    return hash((writes, app[STATE].clock.position))


def _url_of(runner: web.AppRunner) -> str:
    host, port, *_ = runner.addresses[0]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _run_background(app: web.Application) -> AsyncIterator[None]:
    """Deliver webhooks and run timers for as long as the application serves."""
    state = app[STATE]
    deliverers = (state.status_callbacks, state.classic_webhooks)
    for deliverer in deliverers:
        await deliverer.start(lambda: state.options, state.now)
    timers = asyncio.create_task(_run_timers(state))
    yield
    timers.cancel()
    with suppress(asyncio.CancelledError):
        await timers
    for deliverer in deliverers:
        await deliverer.close()


async def _run_timers(state: SandboxState) -> None:
    while True:
        await asyncio.sleep(TIMER_PERIOD)
        run_timers(state)
        run_classic_timers(state)


async def _release_requests(app: web.Application) -> None:
    """End the requests that a fault holds, so that the server can end."""
    app[FAULTS].clear()
