"""The console as a process: it serves at once, whether Redis answers or not, and goes on after a repartition."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from aiohttp import web

from router.console.app import make_app
from router.console.desk.room import DeskRoom
from router.console.hub import Hub, running
from router.console.job_runner import JobRunner
from router.console.ports import ConsolePorts
from router.console.samples import StreamSamples, sampling
from router.console.users import UsersFile, users_path
from router.core.errors import SettingsError
from router.logs import log
from router.process.announce import Announcer
from router.process.apis import close_clients, make_apis
from router.process.loop import Stop, fail
from router.process.metrics_port import metrics_port
from router.settings.team_file import load_team
from router.streams.client.connection import Redis, RedisError, connect
from router.streams.store.audit import AuditLog
from router.streams.store.jobs import JobStore
from router.streams.store.partitions import WATCH_EVERY, keep_layout, read_layout
from router.streams.store.sign_ins import SignIns
from router.tasks import PATIENCE, end

if TYPE_CHECKING:
    from router.process.apis import Apis
    from router.settings.model import Settings

#: Settings without which there is nothing to show or to do.
REQUIRED: Final = ("redis_url", "twilio_account_sid", "api_credentials")
#: Seconds in which Redis is to answer a page, and for open pages to end.
REDIS_TIMEOUT: Final = 2.0
SHUTDOWN: Final = 1.0


async def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, then return 0; 1 if the port is in use. Raises SettingsError."""
    if settings.console_proxy_header and not settings.console_proxies:
        raise SettingsError(["ROUTER_CONSOLE_PROXIES is not set, but ROUTER_CONSOLE_PROXY_HEADER is: set both"])
    stop, place = Stop(settings.grace), f"{settings.host}:{settings.metrics_port} (ROUTER_METRICS_PORT)"
    try:
        with metrics_port(settings):
            place = f"{settings.console_host}:{settings.console_port}"
            while not stop.is_requested:
                number = await _serve_once(settings, stop)
                if number is not None:
                    log("partitions.changed", level="warning", partitions=number, setting=settings.partitions)
                    settings = settings.model_copy(update={"partitions": number})
    except OSError as error:
        return fail(f"cannot listen on {place}: {error}")
    log("process.stopped")
    return 0


async def _serve_once(settings: Settings, stop: Stop) -> int | None:
    """Serve until the process is to stop, or the number of partitions is another: returns that. Raises OSError."""
    redis, apis = connect(settings.redis, timeout=REDIS_TIMEOUT), make_apis(settings)
    try:
        async with AsyncExitStack() as stack:
            ports = make_ports(settings, redis, apis)
            await stack.enter_async_context(running(ports.hub))
            announcer = Announcer(redis, ports.keys, kind="console", facts=lambda: {"live": ports.hub.listeners})
            stack.push_async_callback(end, asyncio.create_task(announcer.run(), name="announce"))
            await stack.enter_async_context(sampling(ports.samples))
            stack.push_async_callback(ports.jobs.close)
            await stack.enter_async_context(ports.desk.running())
            runner = web.AppRunner(make_app(ports), access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, settings.console_host, settings.console_port)
            await site.start()
            port = runner.addresses[0][1]
            log("process.started", port=port, pid=os.getpid(), settings=settings.masked())
            _look_at_users(ports)
            return await stop.or_end_of(_until_moved(ports), patience=PATIENCE)
    finally:
        await close_clients(apis, redis)


def make_ports(settings: Settings, redis: Redis, apis: Apis) -> ConsolePorts:
    """Return the ports of a console: hub, desk, samples to be run, jobs to be closed. Raises SettingsError."""
    keys, audit, hub = settings.keys, AuditLog(redis, settings.keys), Hub(redis, settings.keys, settings.sealer)
    team = load_team(settings.config_dir)
    return ConsolePorts(
        redis=redis,
        settings=settings,
        keys=keys,
        apis=apis,
        hub=hub,
        desk=DeskRoom(redis, settings, hub=hub, apis=apis, team=team),
        jobs=JobRunner(JobStore(redis, keys), audit, clock=_now),
        samples=StreamSamples(redis, keys, clock=_now),
        audit=audit,
        sign_ins=SignIns(redis, keys),
        users=UsersFile(users_path(settings), _report),
        clock=_now,
    )


def _now() -> int:
    return time.time_ns() // 1000


def _look_at_users(ports: ConsolePorts) -> None:
    """Log a wrong file of users at the start, or that there is nobody who could sign in."""
    ports.users.read()
    if not ports.users.path.exists():
        log("console.users", level="warning", reason=f"there is no {ports.users.path}: `console add-user` makes it")


def _report(problem: str) -> None:
    log("console.users", level="error", reason=problem)


async def _until_moved(ports: ConsolePorts) -> int:
    """Return the number of partitions once it is another one; an outage of Redis is waited out."""
    look = read_layout  # at first, and from then on keep_layout: the console may be the first process over the data
    while True:
        try:
            layout = await look(ports.redis, ports.keys)
        except (RedisError, OSError):
            pass
        else:
            look = keep_layout
            if layout.is_open and layout.new != ports.keys.partitions:
                return layout.new
        await asyncio.sleep(WATCH_EVERY)
