"""The receiver as a process: one event loop on the port, or several processes that share it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from aiohttp import web

from router.logs import log
from router.process import until_stopped
from router.receiver.app import STOPPING, create_app
from router.supervisor import Supervisor

if TYPE_CHECKING:
    from router.settings import Settings

#: Settings without which there is nothing to check or to append to.
REQUIRED: Final = ("redis_url", "twilio_account_sid", "twilio_auth_token", "public_base_url")
#: Seconds that open connections get after SIGTERM to send what they were opened for.
DRAIN: Final = 1.0


async def serve(settings: Settings, *, share_port: bool = False) -> int:
    """Serve until SIGTERM or SIGINT; answers what is under way, then returns 0. `share_port` for several processes."""
    runner = web.AppRunner(
        create_app(settings),
        access_log=None,
        handle_signals=False,
        auto_decompress=False,  # signatures are over the bytes as they came
        shutdown_timeout=settings.grace,
    )
    stopped = asyncio.create_task(until_stopped())
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port, reuse_port=share_port or None)
        await site.start()
        log("process.started", port=runner.addresses[0][1], pid=os.getpid(), settings=settings.masked())
        await stopped
        log("process.stopping")
        await _drain(runner, site)
    finally:
        await runner.cleanup()
    log("process.stopped")
    return 0


async def _drain(runner: web.AppRunner, site: web.TCPSite) -> None:
    """Take no new connection, and let every open one send what it was opened for.

    aiohttp closes at once what is idle at that moment, which cuts off callers that have connected and not sent yet.
    """
    runner.app[STOPPING].set()
    await site.stop()
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN):
            while runner.server is not None and runner.server.connections:  # noqa: ASYNC110 - aiohttp gives no event
                await asyncio.sleep(0.01)


async def serve_many(settings: Settings, processes: int) -> int:
    """Run so many receivers on one port, start again what dies, and pass a stop on to all."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((settings.host, settings.port))  # bound, never listening: keeps a port 0 the same for all
        port = reserved.getsockname()[1]
        command = [sys.executable, "-m", "router", "receive", "--share-port", "--port", str(port)]
        async with Supervisor(grace=settings.grace + 2) as supervisor:
            stopping = asyncio.create_task(until_stopped())
            for number in range(processes):
                await supervisor.start(f"web.{number + 1}", command)
            failed = asyncio.create_task(supervisor.failed())
            await asyncio.wait({stopping, failed}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            failed.cancel()
            if not supervisor.failure:
                return 0
            log("process.failed", level="error", reason=supervisor.failure)
            return 1
