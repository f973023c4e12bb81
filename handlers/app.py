"""A consumer as a process: the composition root of all handlers, and the table of them.

To add a handler:

1. Write `handlers/<name>.py` with a factory `make_<name>(ports: Ports) -> Handler`. A Handler maps types of entries
   ("participant.joined", ...) to `async def reaction(entry, effect) -> HandlerResult`. A reaction does through
   `effect.once("step", do)` what must not happen twice. `--help` shows the first line of the factory's docstring.
2. Add a row to HANDLERS below: name, target, and a consumer group of its own. Every group gets every entry of its
   target, independently of other groups. A new group begins with the oldest entry of its stream, so that the handler
   acts on all that is still there; with `start=Start.NEW`, with what comes after the first start.
3. Run `python -m handlers <name>`; `make run` starts it too.

A group whose handler does not run is shown by `python -m router check` and the metrics, and keeps its stream from being
trimmed. If nobody needs it: `python -m router groups remove NAME`.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from handlers.ai_agent import make_ai_agent
from handlers.consume import GIVEN_UP, Consumption, about_entry, account_of, facts_of, lane_of, subject_of
from handlers.handler import Handler, Ports
from handlers.human_agent import make_human_agent
from router import metrics
from router.agents.effects import Effects
from router.core.keys import Target
from router.logs import describe, log
from router.process.announce import Announcer
from router.process.apis import close_clients, make_apis, make_limits, make_replication
from router.process.partitions import run_partitioned
from router.process.stories import make_stories
from router.settings.accounts_file import CREDENTIALS
from router.settings.load import load
from router.streams.client.clock import RedisClock
from router.streams.client.connection import Redis, connect
from router.streams.client.gathering import make_gathering_client
from router.streams.consuming.consumer import StreamConsumer
from router.streams.consuming.groups import Start
from router.streams.consuming.story_notes import StoryNotes
from router.streams.delivery import StreamRef
from router.streams.store.ledgers import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from router.settings.model import Settings

#: Settings that every consumer needs.
REQUIRED: Final = ("redis_url", "twilio_account_sid", CREDENTIALS)


class HandlerRow(NamedTuple):
    """A handler: the target whose entries it gets, its consumer group, its factory, and where a new group begins."""

    target: Target
    group: str
    make: Callable[[Ports], Handler]
    start: Start = Start.OLDEST


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of a consumer; raises SettingsError with all problems."""
    return load(require=REQUIRED, environment=environment)


def make_consumer(name: str, row: HandlerRow, ports: Ports, handler: Handler) -> StreamConsumer:
    """Return the consumer that gives a handler the entries of its target."""
    settings, keys = ports.settings, ports.keys
    sealer = ports.store.sealer
    stories = make_stories(settings, ports.redis, process=row.group, clock=ports.clock)
    effects = Effects(_gathering(settings, ports.redis), keys, row.group, make_replication(settings), sealer)
    consumption = Consumption(name, handler, effects, sealer=sealer, stories=stories)
    for result in ("waiting", "failed"):
        metrics.expect("router_attempts", row.group, result)
    metrics.expect("router_consumed", name, GIVEN_UP)
    return StreamConsumer(
        redis=ports.redis,
        url=settings.redis,
        keys=keys,
        streams=[StreamRef(number, keys.participants(number, row.target)) for number in range(keys.partitions)],
        group=row.group,
        limits=make_limits(settings),
        attempt=consumption.attempt,
        subject=subject_of,
        account=account_of,
        lane=lane_of,
        on_result=lambda result: metrics.count("router_attempts", row.group, result),
        facts=facts_of,
        on_dead=consumption.given_up,
        before_dead=consumption.failing,
        start=row.start,
        telling=StoryNotes(stories, about_entry) if stories is not None else None,
    )


@asynccontextmanager
async def consuming(name: str, settings: Settings, row: HandlerRow | None = None) -> AsyncIterator[StreamConsumer]:
    """Consume while the block runs; raises SettingsError if the handler's own configuration is wrong."""
    row = HANDLERS[name] if row is None else row
    ports = make_ports(settings)
    redis, clock = ports.redis, ports.clock
    try:
        handler = row.make(ports)
        await clock.measure(redis)
        consumer = make_consumer(name, row, ports, handler)
        async with consumer.running():
            consumer.run_beside(clock.run(redis), "clock")
            consumer.run_beside(Announcer(redis, ports.keys, kind=row.group).run(), "announce")
            if handler.background is not None:
                consumer.run_beside(_restart(handler.background, settings.retry_delay), "background")
            yield consumer
    finally:
        await close_clients(ports.apis, redis)


def _gathering(settings: Settings, redis: Redis) -> Redis:
    """Return a client that sends the commands of entries that are handled at the same time together, as the worker's.

    Not with replicas: each write waits for them. Gain, by tests.benchmarks.steps, with own addresses written likewise:
    65,000 to 27,000 steps of a customer who is greeted.
    """
    return redis if make_replication(settings).replicas else make_gathering_client(redis)


def make_ports(settings: Settings) -> Ports:
    """Return the ports of a handler: Redis, the APIs, their clock; nothing is connected before it is used."""
    redis, clock = connect(settings.redis), RedisClock(settings.keys.inbound(0))
    replication = make_replication(settings)
    store = Store(
        _gathering(settings, redis),
        settings.keys,
        marker_ttl=settings.marker_ttl,
        replication=replication,
        sealer=settings.sealer,
        clock=clock,
    )
    return Ports(settings, settings.keys, redis, make_apis(settings), store, clock)


async def _restart(background: Callable[[], Awaitable[None]], pause: float) -> None:
    """Run a handler's background for ever; if it fails it is started again after `pause` seconds."""
    while True:
        try:
            await background()
        except Exception as error:  # noqa: BLE001 - logged, and started again
            log("background.failed", level="warning", error=describe(error))
        await asyncio.sleep(pause)


async def consume(name: str, settings: Settings) -> int:
    """Run one handler until SIGTERM or SIGINT; returns the exit status (router.process.partitions).

    Raises SettingsError if the handler's own configuration is wrong, whether Redis answers or not.
    """
    ports = make_ports(settings)
    try:
        HANDLERS[name].make(ports)
    finally:
        await close_clients(ports.apis, ports.redis)
    return await run_partitioned(lambda current: consuming(name, current), settings, handler=name)


#: The handlers by name.
HANDLERS: Final[dict[str, HandlerRow]] = {
    "ai_agent": HandlerRow(Target.AI_AGENT, "ai-agent", make_ai_agent),
    "human_agent": HandlerRow(Target.HUMAN_AGENT, "human-agent", make_human_agent),
}
