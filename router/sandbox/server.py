"""Serves a sandbox until it is told to end: by SIGTERM, by SIGINT or by cancellation."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from aiohttp import web

from router.sandbox.app import create_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.sandbox.clock import Clock
    from router.sandbox.options import SandboxOptions

#: Seconds that requests under way get when the sandbox ends.
GRACE: Final = 2.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


async def serve(
    options: SandboxOptions,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    on_ready: Callable[[str], None] | None = None,
    clock: Clock | None = None,
    handle_signals: bool = True,
) -> None:
    """Serve a sandbox; port 0 takes a free one, `on_ready` is told the URL once requests are taken.

    `handle_signals` is False where another composition root ends the process. Raises OSError for a port in use.
    """
    runner = web.AppRunner(create_app(options, clock=clock), access_log=None, shutdown_timeout=GRACE)
    await runner.setup()
    ended = asyncio.Event()
    try:
        await web.TCPSite(runner, host, port).start()
        if handle_signals:
            _end_on_signals(ended)
        if on_ready is not None:
            on_ready(url_of(runner))
        await ended.wait()
    finally:
        if handle_signals:
            _return_signals()
        await runner.cleanup()


def url_of(runner: web.AppRunner) -> str:
    """Return where the first site of `runner` listens."""
    host, port, *_ = runner.addresses[0]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _return_signals() -> None:
    """Give the signals back; a second one while requests end does what it does anywhere."""
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.remove_signal_handler(number)


def _end_on_signals(ended: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        with suppress(NotImplementedError, RuntimeError, ValueError):  # not on Windows, not outside the main thread
            loop.add_signal_handler(number, ended.set)
