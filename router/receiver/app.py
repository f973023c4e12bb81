"""The aiohttp application: a route per event source, health, readiness and metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.hdrs import EXPECT

from router import metrics
from router.core.errors import RouteError, SettingsError, SignatureError
from router.core.events import SourceName
from router.core.keys import Target
from router.core.refused import REASONS
from router.inbound.sources import SOURCES, Source
from router.logs import describe_end, log
from router.process.announce import Announcer
from router.process.apis import CLOSING, make_replication
from router.process.stories import make_stories
from router.receiver.answers import respond
from router.receiver.exposition import Exposition
from router.receiver.fast_lane import FastLane
from router.receiver.ingest import Ingest, make_authenticators
from router.receiver.misrouted import Misrouted
from router.receiver.partitions import PartitionWatch
from router.receiver.readiness import NODE_TIMEOUT, REDIS_TIMEOUT, make_readyz
from router.receiver.refusals import Quarantine
from router.receiver.spool.drainer import Drainer
from router.receiver.spool.spool import Spool
from router.receiver.voice import VoiceResponder
from router.settings.files import load_policy, load_voice, unknown_queues
from router.settings.team_file import load_team
from router.streams.client.clock import RedisClock
from router.streams.client.connection import Redis, RedisError, connect
from router.streams.store.append import Appender
from router.streams.store.calls import CallStore
from router.tasks import end, finish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.core.routing.team import Team
    from router.core.voice.templates import VoiceTemplates
    from router.settings.model import Settings
    from router.streams.store.stories import StoryWriter


class Stopping(asyncio.Event):
    """Set when the process is to stop; `seconds` is for how long it has been set."""

    _since = 0.0

    def set(self) -> None:
        """Begin to stop."""
        self._since = self._since or time.monotonic()
        super().set()

    @property
    def seconds(self) -> float:
        """How long ago that was, 0 if it was not."""
        return time.monotonic() - self._since if self._since else 0.0


class Background:
    """Tasks that never end while the receiver works."""

    def __init__(self, *tasks: asyncio.Task[None]) -> None:
        self._tasks = tasks

    async def failed(self) -> str:
        """Wait until one has ended, and return the reason for the log."""
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(filter(None, map(describe_end, self._tasks)))


RouteHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]
AnyHandler = Callable[[Any], Awaitable[web.StreamResponse]]

REDIS: Final = web.AppKey("redis", Redis)
#: The number of partitions, once the application has started.
PARTITIONS: Final = web.AppKey("partitions", PartitionWatch)
EXPOSITION: Final = web.AppKey("exposition", Exposition)
#: Set once the application has started.
BACKGROUND: Final = web.AppKey("background", Background)
#: Set once no new connections are accepted: from then on every answer is the last one of its connection.
STOPPING: Final = web.AppKey("stopping", Stopping)
#: The way of usual webhooks past aiohttp's parser, for `connection_factory`.
LANE: Final = web.AppKey("lane", FastLane)
#: The handlers of webhooks by their path, for `bypass_routing`; they are in aiohttp's router as well.
WEBHOOK_HANDLERS: Final = web.AppKey("webhook_handlers", dict[str, RouteHandler])
#: Seconds, once the grace is over, for writes that nobody waits for.
SETTLING: Final = 0.1
#: Statuses and results of webhooks that are counted from 0.
_EXPECTED: Final = (
    ("200", "accepted"),
    ("200", "duplicate"),
    ("200", "spooled"),
    ("403", SignatureError.reason),
    ("404", RouteError.reason),
    ("405", RouteError.reason),
    ("503", "not-durable"),
    ("500", "failed"),
)


def create_app(settings: Settings, *, redis: Redis | None = None) -> web.Application:
    """Return the receiver; `redis` replaces the connection to REDIS_URL (in tests) and is then not closed here."""
    app = web.Application(client_max_size=settings.max_body_bytes)
    app[REDIS] = redis or connect(settings.redis, node_timeout=NODE_TIMEOUT)
    app[STOPPING] = Stopping()
    spool, clock = _make_spool(settings), RedisClock(settings.keys.inbound(0))
    patience, replication = REDIS_TIMEOUT if spool else None, make_replication(settings)
    appender = Appender(app[REDIS], settings.keys, patience=patience, replication=replication)
    calls = CallStore(app[REDIS], settings.keys)
    responders = {SourceName.VOICE: _make_voice(settings, calls, clock)}
    authenticators, misrouted = make_authenticators(
        settings, responders=responders, shadow=settings.shadow, clock=clock.seconds
    )
    sealer = settings.sealer
    stories = make_stories(settings, app[REDIS], process="web", clock=clock)
    refusals = make_stories(settings, app[REDIS], process="web", clock=clock, is_refused=True)
    ours = [account.sid for account in settings.accounts]
    quarantine = Quarantine(
        app[REDIS], settings.keys, settings.quarantine_bounds, sealer=sealer, stories=refusals, ours=ours
    )
    ingest = Ingest(appender, authenticators, quarantine, spool, sealer=sealer, stories=stories, clock=clock)
    app[LANE] = FastLane(ingest, app[STOPPING])
    app[EXPOSITION] = Exposition(app[REDIS], lambda: app[PARTITIONS].keys, clock, spool)
    _add_routes(app, ingest, make_readyz(appender.check, spool), Misrouted(misrouted, quarantine, clock))
    _expect_counts()

    async def lifespan(app: web.Application) -> AsyncIterator[None]:
        drainer = _make_drainer(spool, appender, settings, stories, clock) if spool else None
        app[PARTITIONS] = watch = PartitionWatch(app[REDIS], settings, appender)
        parts = [part for part in (calls, drainer, stories, refusals) if part is not None]
        await watch.start(parts)  # raises before anything else runs
        await clock.begin(app[REDIS])
        if drainer is not None:
            await drainer.start()
        tasks = _begin_tasks(app[REDIS], settings, clock, spool, ingest)
        app[BACKGROUND] = Background(*tasks, *watch.tasks, *(drainer.tasks if drainer else []))
        yield
        await watch.close()
        if drainer is not None:
            await drainer.close()
        left = max(SETTLING, settings.grace - app[STOPPING].seconds)
        await finish(_settle(app[LANE], appender, quarantine, stories, refusals), left)
        await end(*tasks)  # last: one of them tells what is left on the disk
        if redis is None:
            with suppress(RedisError, OSError):
                await finish(app[REDIS].aclose(), CLOSING)

    app.cleanup_ctx.append(lifespan)
    return app


def _begin_tasks(
    redis: Redis, settings: Settings, clock: RedisClock, spool: Spool | None, ingest: Ingest
) -> list[asyncio.Task[None]]:
    """Keep the estimate of the time, and announce this process with its spool and what it could not store."""

    def facts() -> dict[str, Any]:
        return {"spool": _describe_spool(spool, settings), "not_stored": ingest.describe()}

    def has_left() -> bool:
        return bool((spool is not None and spool.own_entries) or ingest.describe()["webhooks"])

    announcer = Announcer(redis, settings.keys, kind="web", facts=facts, has_left=has_left)
    return [
        asyncio.create_task(clock.run(redis), name="clock"),
        asyncio.create_task(announcer.run(), name="announce"),
    ]


def _describe_spool(spool: Spool | None, settings: Settings) -> dict[str, Any]:
    """Return the state of the spool, and where another process would find what this one leaves in it."""
    if spool is None:
        return {"status": "off"}
    return spool.describe() | {"own": spool.own_entries, "folder": str(Path(settings.spool_dir).absolute())}


def _add_routes(app: web.Application, ingest: Ingest, readyz: RouteHandler, misrouted: Misrouted) -> None:
    app[WEBHOOK_HANDLERS] = {source.path: _handler(ingest, source, app[STOPPING]) for source in SOURCES.values()}
    for path, handle in app[WEBHOOK_HANDLERS].items():
        app.router.add_post(path, handle)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", app[EXPOSITION].handle)
    app.router.add_route("*", "/{rest:.*}", misrouted.handle)


def _expect_counts() -> None:
    """Let the counters of the receiver begin with 0."""
    for name in SOURCES:
        for status, result in _EXPECTED:
            metrics.expect("router_webhooks", name, status, result)
    for result in ("kept", "repeat", "failed", "drained", "known"):
        metrics.expect("router_spooled", result)
    for why in ("crowd", "silent"):
        metrics.expect("router_connections_closed", why)
    for reason in REASONS:
        for result in ("kept", "repeat", "failed"):
            metrics.expect("router_quarantined", reason, result)


async def failed(app: web.Application) -> str:
    """Wait until the receiver can no longer do its work, and return the reason for the log."""
    tasks = [asyncio.create_task(one.failed()) for one in (app[PARTITIONS], app[BACKGROUND])]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(iter(done)).result()
    finally:
        await end(*tasks)


async def _settle(lane: FastLane, appender: Appender, quarantine: Quarantine, *stories: StoryWriter | None) -> None:
    """Wait for the writes that are under way; all webhooks have been answered by now."""
    await appender.close()
    await lane.close()
    await quarantine.close()
    for writer in stories:
        if writer is not None:
            await writer.close()


def _make_drainer(
    spool: Spool, appender: Appender, settings: Settings, stories: StoryWriter | None, clock: RedisClock
) -> Drainer:
    return Drainer(spool, appender, appender.check, keys=settings.keys, stories=stories, clock=clock)


def _make_spool(settings: Settings) -> Spool | None:
    """Return the spool, or None if the settings disable it."""
    if not settings.spool_max_bytes:
        return None
    return Spool(Path(settings.spool_dir), settings.namespace, settings.spool_max_bytes)


def _make_voice(settings: Settings, calls: CallStore, clock: RedisClock) -> VoiceResponder:
    """Return the responder for calls; raises SettingsError for a wrong policy or wrong templates."""
    templates, team = load_voice(settings), _find_team(settings)
    unknown = unknown_queues(templates, team) if team is not None else []
    for note in (*templates.notes, *_unknown_configurations(settings, templates), *unknown):
        log("voice.note", note=note)
    url = f"{settings.public_base_url or ''}{SOURCES[SourceName.VOICE].path}"
    return VoiceResponder(load_policy(settings), templates, calls, url=url, team=team, clock=clock)


def _find_team(settings: Settings) -> Team | None:
    """Return the people and queues; None if this machine has no right files of them, which workers need."""
    try:
        return load_team(settings.config_dir, needs_people=True)
    except SettingsError:
        return None


def _unknown_configurations(settings: Settings, templates: VoiceTemplates) -> list[str]:
    without = [account.sid for account in settings.accounts if not account.configuration_id]
    if not without or not any(templates.wants(target, "configuration_id") for target in Target):
        return []
    return [f"{sid} has no configuration id: its calls are put into no conversation" for sid in without]


def bypass_routing(app: web.Application, application: AnyHandler) -> AnyHandler:
    """Return a handler that passes webhooks to their handlers directly, and all other requests to `application`.

    Gain, by `make bench`: 4 to 5 % of a webhook's time, which aiohttp's router takes.
    """
    webhook_handlers = app[WEBHOOK_HANDLERS]

    def handle(request: web.Request) -> Awaitable[web.StreamResponse]:
        handler = webhook_handlers.get(request.raw_path.partition("?")[0], application)
        return handler(request) if request.method == "POST" and EXPECT not in request.headers else application(request)

    return handle


def _handler(ingest: Ingest, source: Source, stopping: asyncio.Event) -> RouteHandler:
    async def handle(request: web.Request) -> web.StreamResponse:
        answer = await ingest.handle(request, source)
        return await respond(answer, request, is_last=stopping.is_set())

    return handle


async def _healthz(_: web.Request) -> web.Response:
    """Answer 200 as long as the event loop runs."""
    return web.json_response({"status": "ok"})
