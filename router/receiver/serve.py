"""The receiver as a process: one event loop on a port, or several processes that share the port."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from aiohttp import web

from router.logs import log
from router.process.loop import Stop, fail, settle_heap
from router.process.metrics_hub import MetricsHub
from router.process.supervisor import Supervisor, python_command
from router.receiver.app import EXPOSITION, LANE, STOPPING, bypass_routing, create_app, failed
from router.receiver.connections import allow_files, connection_factory
from router.settings.environment import supervisor_socket

if TYPE_CHECKING:
    from router.settings.model import Settings

#: Settings without which webhooks can be neither checked nor appended.
REQUIRED: Final = ("redis_url", "twilio_account_sid", "twilio_auth_token", "public_base_url")
#: Connections that the kernel accepts while the event loop is busy.
BACKLOG: Final = 128
#: Seconds after SIGTERM for open connections to send their requests, at most half of the grace.
DRAIN_TIMEOUT: Final = 1.0
AIOHTTP_CEILING: Final = 5.0
#: Seconds beyond the grace after which the supervisor kills a process that has not ended by itself.
KILL_AFTER: Final = 1.0


async def serve(settings: Settings, *, share_port: bool = False) -> int:
    """Serve until SIGTERM or SIGINT, then answer the requests in progress and return 0; 1 if the port is in use.

    If it turns out that the setting is not the number of partitions, or a background task ends, it ends too, with 1;
    raises SettingsError if the setting is known to be wrong at the start.

    `share_port` lets several processes listen on the same port; those that one supervisor started share their metrics.
    """
    stop = Stop(settings.grace)
    runner = web.AppRunner(
        create_app(settings),
        access_log=None,
        handle_signals=False,
        shutdown_timeout=_shutdown_timeout(settings.grace),
    )
    await runner.setup()
    try:
        if share_port and (descriptor := supervisor_socket()) is not None:
            await runner.app[EXPOSITION].join(descriptor)
        assert runner.server is not None, "it is set up"  # noqa: S101 - for the type checker
        runner.server.request_handler = bypass_routing(runner.app, runner.server.request_handler)
        loop = asyncio.get_running_loop()
        most, lane = allow_files(settings.max_connections), runner.app[LANE]
        connect = connection_factory(runner.server, loop, most, lane)
        try:
            listener = await loop.create_server(
                connect, settings.host, settings.port, backlog=BACKLOG, reuse_port=share_port or None
            )
        except OSError as error:
            return fail(f"cannot listen on {settings.host}:{settings.port}: {error}")
        port = listener.sockets[0].getsockname()[1]
        settle_heap()
        log("process.started", port=port, pid=os.getpid(), mails=settings.mail_proof, settings=settings.masked())
        if settings.shadow:
            log("shadow.on", level="warning", sources=",".join(settings.shadow))
        problem = await stop.or_end_of(failed(runner.app))
        log("process.stopping")
        runner.app[STOPPING].set()
        for connection in _stop_listening(listener):
            await loop.connect_accepted_socket(connect, connection)
        await _drain(runner.server, _drain_timeout(settings.grace))
    finally:
        await runner.cleanup()
        await runner.app[EXPOSITION].leave()
    if problem is not None:
        return fail(problem)
    log("process.stopped")
    return 0


def _drain_timeout(grace: float) -> float:
    """Return the part of the grace that open connections get to send a request."""
    return min(DRAIN_TIMEOUT, grace / 2)


def _shutdown_timeout(grace: float) -> float:
    """Return the rest of the grace, for aiohttp, which rounds a timeout above AIOHTTP_CEILING up to a whole second."""
    rest = grace - _drain_timeout(grace)
    return rest - 1 if rest > AIOHTTP_CEILING else rest


def _stop_listening(listener: asyncio.Server) -> list[socket.socket]:
    """Close the listening sockets; returns the connections that are established but not accepted yet.

    Closing alone would reset them, and under load there are always some.
    """
    copies = [socket.socket(fileno=os.dup(each.fileno())) for each in listener.sockets]
    listener.close()
    pending = []
    for each in copies:
        with each, suppress(BlockingIOError):
            each.setblocking(False)
            while True:
                pending.append(each.accept()[0])
    return pending


async def _drain(server: web.Server, seconds: float) -> None:
    """Give open connections time to send a request.

    aiohttp closes idle connections at once, which cuts off callers that have connected but not sent yet.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while server.connections:  # noqa: ASYNC110 - aiohttp gives no event
                await asyncio.sleep(0.01)


async def serve_many(settings: Settings, processes: int) -> int:
    """Run `processes` receivers on one port: restart those that die, and stop all together; 1 if the port is in use."""
    stop = Stop()
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            reserved.bind((settings.host, settings.port))  # bound, not listening: port 0 becomes one port for all
        except OSError as error:
            return fail(f"cannot listen on {settings.host}:{settings.port}: {error}")
        port = reserved.getsockname()[1]
        command = python_command("router", "receive", "--share-port", "--port", str(port))
        grace = settings.grace + KILL_AFTER
        async with (
            MetricsHub("web") as hub,
            Supervisor(grace=grace, is_ordered=False, connect=hub.connect) as supervisor,
        ):
            problem = await stop.or_end_of(_keep_running(supervisor, processes, command))
            return fail(problem) if problem else 0


async def _keep_running(supervisor: Supervisor, processes: int, command: list[str]) -> str:
    """Return why the processes cannot be kept running."""
    try:
        for number in range(processes):
            await supervisor.start(f"web.{number + 1}", command)
    except OSError as error:
        return f"cannot start a process: {error}"
    await supervisor.failed()
    return supervisor.failure
