"""The worker process: the composition root of resolving."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypedDict

from router import metrics
from router.core.events import SourceName
from router.core.judging.context import AccountRules
from router.core.judging.rules import EventRules
from router.core.judging.unconfirmed import MOST, Unconfirmed
from router.core.keys import RESOLVER, Target
from router.core.ledger.marker import Result
from router.core.resolution.classic import ClassicResolver
from router.core.routing.team import Team
from router.logs import lines_together
from router.process.announce import Announcer
from router.process.apis import close_clients, make_apis, make_limits, make_replication
from router.process.partitions import run_partitioned
from router.process.stories import make_stories, make_story_index
from router.settings.accounts_file import CREDENTIALS
from router.settings.check_files import check_files
from router.settings.files import load_policy, load_voice
from router.settings.team_file import load_team
from router.streams.client.clock import RedisClock
from router.streams.client.connection import Redis, connect
from router.streams.client.gathering import make_gathering_client
from router.streams.consuming.consumer import StreamConsumer
from router.streams.consuming.story_notes import StoryNotes
from router.streams.delivery import Delivery, StreamRef
from router.streams.store.ledgers import Store
from router.streams.store.recent import Pace, Recent
from router.streams.store.trim import Trimmer
from router.streams.store.turns import TurnStore
from router.worker.account_cache import AccountCache
from router.worker.batches import BatchPath
from router.worker.calls import CallPath
from router.worker.people import make_people
from router.worker.reconciler import Reconciler
from router.worker.singles import SinglePath
from router.worker.startup import find_bridges, find_captured, find_configurations, find_own, warn_of_doubled_calls
from router.worker.verdicts import Patience
from router.worker.work import (
    BatchMisses,
    about_inbound,
    account_of,
    facts_of,
    inbound_reader,
    lane_of,
    report,
    subject_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from router.core.accounts import Account
    from router.core.policy import Policy
    from router.core.resolution.classic import Bridge
    from router.process.apis import Apis
    from router.settings.model import Settings
    from router.streams.store.stories import StoryWriter
    from router.worker.work import DeliveredWork

#: The settings that the worker requires.
REQUIRED: Final = (
    "redis_url",
    "twilio_account_sid",
    CREDENTIALS,
    "twilio_conversation_configuration_id",
)


def make_consumer(settings: Settings, redis: Redis, resolver: Resolver) -> StreamConsumer:
    """Return the consumer of the inbound streams that feeds `resolver`."""
    keys = settings.keys

    async def settle(deliveries: list[Delivery], *, is_busy: Callable[[Delivery], bool]) -> list[Delivery]:
        settled, left = await resolver.batches.settle(deliveries, is_busy=is_busy)
        # Before the XACK: a process that dies in between leads to two log lines and two lines of a story, not to none.
        report_all(settled, resolver)
        if settled:
            await consumer.acknowledge([work.delivery for work in settled])
        return left

    for result in ("waiting", "failed"):
        metrics.expect("router_attempts", RESOLVER, result)
    for source in SourceName:
        for result in (Result.JOINED, Result.KNOWN, Result.IGNORED):
            metrics.expect("router_events", source, result)
    consumer = StreamConsumer(
        redis=redis,
        url=settings.redis,
        keys=keys,
        streams=[StreamRef(number, keys.inbound(number)) for number in range(keys.partitions)],
        group=RESOLVER,
        limits=make_limits(settings),
        attempt=resolver.singles.attempt,
        subject=subject_of,
        intake=lambda deliveries: settle(deliveries, is_busy=consumer.is_busy),
        intake_queued=partial(settle, is_busy=lambda _: False),  # they are next
        account=account_of,
        lane=lane_of,
        on_result=lambda result: metrics.count("router_attempts", RESOLVER, result),
        facts=facts_of,
        telling=_make_notes(resolver),
    )
    return consumer


def _make_notes(resolver: Resolver) -> StoryNotes | None:
    read = inbound_reader(resolver.store.sealer)
    stories = resolver.stories
    return StoryNotes(stories, lambda delivery: about_inbound(delivery, read)) if stories is not None else None


def report_all(works: Sequence[DeliveredWork], resolver: Resolver) -> None:
    """Report works of a batch."""
    stories, clock = resolver.stories, resolver.rules.clock
    with lines_together():
        for work in works:
            report(work, clock(), stories)


def make_store(
    settings: Settings, redis: Redis, clock: Callable[[], int], recent: Recent | None = None, *, has_turns: bool
) -> Store:
    """Return the store of ledgers; with `recent`, each commit marks its conversation as active there.

    `has_turns`: the policy has bursts.
    """
    replication = make_replication(settings)
    redis = redis if replication.replicas else make_gathering_client(redis)  # with replicas each commit waits for them
    kind = TurnStore if has_turns else Store
    return kind(
        redis,
        settings.keys,
        marker_ttl=settings.marker_ttl,
        recent=recent,
        replication=replication,
        sealer=settings.sealer,
        clock=clock,
    )


def make_recent(settings: Settings, redis: Redis, clock: RedisClock) -> Recent | None:
    """Return the recently active conversations, None if the settings switch the reconciler off."""
    if not settings.reconcile_calls:
        return None
    return Recent(redis, settings.keys, window=settings.reconcile_window, clock=clock)


def make_trimmer(settings: Settings, redis: Redis, clock: RedisClock) -> Trimmer:
    """Return the trimmer of all streams; it compares stream ids, so its clock is that of Redis."""
    return Trimmer(
        redis,
        settings.keys,
        retention=settings.stream_retention,
        most=settings.stream_most,
        most_bytes=settings.stream_max_bytes,
        clock=clock.milliseconds,
    )


def make_reconciler(settings: Settings, redis: Redis, resolver: Resolver, recent: Recent, apis: Apis) -> Reconciler:
    """Return the reconciler that runs beside `resolver`; the resolver's commits must be noted in `recent`."""
    return Reconciler(
        store=make_store(settings, redis, resolver.rules.clock, has_turns=isinstance(resolver.store, TurnStore)),
        recent=recent,
        pace=Pace(redis, settings.keys, calls=settings.reconcile_calls, clock=resolver.rules.clock),
        apis=apis,
        accounts=resolver.accounts,
        rules=resolver.rules,
        unconfirmed=resolver.unconfirmed,
    )


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[StreamConsumer]:
    """Consume and resolve inbound entries while the block runs."""
    policy, attaching = load_policy(settings), load_voice(settings).attaching
    team = load_team(settings.config_dir)
    redis, clock = connect(settings.redis), RedisClock(settings.keys.inbound(0))
    apis = make_apis(settings)
    try:
        await redis.ping()  # before the API is asked
        await clock.measure(redis)
        configurations = await find_configurations(apis)
        if attaching:
            warn_of_doubled_calls(configurations)
        recent = make_recent(settings, redis, clock)
        resolver = Resolver(
            store=make_store(settings, redis, clock, recent, has_turns=policy.has_bursts),
            clock=clock,
            api_ahead=lambda account_id: apis.ahead_of(account_id, clock),
            apis=apis,
            policy=policy,
            team=team,
            route_ttl=settings.route_ttl,
            not_found_wait=settings.not_found_wait,
            text_limit=settings.text_limit,
            always_own=find_own(settings),
            captured=find_captured(configurations),
            attaching=attaching,
            bridges=find_bridges(configurations),
            classic_lookup=settings.classic_lookup,
            is_confirming=recent is not None,
            stories=make_stories(settings, redis, process="worker", clock=clock),
        )
        consumer = make_consumer(settings, redis, resolver)
        trimmer = make_trimmer(settings, redis, clock)
        people = make_people(
            settings, redis, store=resolver.store, apis=apis, clock=clock, team=team, stories=resolver.stories
        )
        async with people.running(consumer):
            consumer.run_beside(trimmer.run(), "trim")
            consumer.run_beside(clock.run(redis), "clock")
            consumer.run_beside(Announcer(redis, settings.keys, kind="worker").run(), "announce")
            if resolver.stories is not None:
                consumer.run_beside(make_story_index(settings, redis).run(), "stories")
            if recent is not None:
                consumer.run_beside(make_reconciler(settings, redis, resolver, recent, apis).run(), "reconcile")
            yield consumer
    finally:
        await close_clients(apis, redis)


async def work(settings: Settings) -> int:
    """Run the worker until SIGTERM or SIGINT; return the exit status (router.process.partitions).

    Raises SettingsError if a file of the configuration is wrong, whether Redis answers or not.
    """
    check_files(settings)
    return await run_partitioned(working, settings)


class _Parts(TypedDict):
    """The parts that all paths share."""

    store: Store
    accounts: AccountCache
    rules: EventRules


class Resolver:
    """Resolves the events of all accounts: the batch path, the single path, and what they share.

    `always_own`: address keys that are our side in every account (the AI agent's). `captured`: those that the capture
    rules of each account's configuration name. `route_ttl` and `not_found_wait` (verdicts.Patience) are in seconds,
    `text_limit` in characters. `attaching`: the targets whose answer attaches a call to a conversation. `bridges`: the
    bridges of accounts whose classic service has one. With `classic_lookup`, a customer is looked up in classic
    conversations before a conversation is opened.
    `team`: the people and queues. `is_confirming`: a reconciler confirms afterwards what was published on trust.
    `stories` writes what became of each event. `clock` returns the time of Redis (µs since 1970): workers compare times
    that others wrote, and stream ids.
    `api_ahead` tells by how much (µs) the clock of an account's API is ahead of it.
    """

    def __init__(
        self,
        *,
        store: Store,
        apis: Apis,
        policy: Policy,
        team: Team | None = None,
        route_ttl: float,
        not_found_wait: float = 3600.0,
        text_limit: int = 4096,
        always_own: frozenset[str] = frozenset(),
        captured: Mapping[str, frozenset[str]] | None = None,
        attaching: frozenset[Target] = frozenset(Target),
        bridges: Mapping[str, Bridge] | None = None,
        classic_lookup: bool = False,
        is_confirming: bool = True,
        stories: StoryWriter | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        api_ahead: Callable[[str], int] = lambda _: 0,
    ) -> None:
        self.store, self.stories = store, stories
        self.accounts = accounts = AccountCache(store, always_own=always_own, captured=captured, clock=clock)
        default = AccountRules(
            policy,
            is_classic_lookup=classic_lookup,
            text_limit=text_limit,
            route_ttl=int(route_ttl * 1_000_000),
            team=team or Team(),
        )
        by_account = {api.account.sid: _account_rules(default, api.account, bridges or {}) for api in apis}
        self.rules = rules = EventRules(by_account, default, clock=clock, api_ahead=api_ahead)
        misses, patience = BatchMisses(), Patience(not_found_wait, clock=clock)
        parts: _Parts = {"store": store, "accounts": accounts, "rules": rules}
        calls = CallPath(**parts, apis=apis, attaching=attaching, patience=patience)
        self.unconfirmed = unconfirmed = Unconfirmed(MOST if is_confirming else 0)
        self.batches = BatchPath(**parts, misses=misses, unconfirmed=unconfirmed)
        self.singles = SinglePath(
            **parts,
            apis=apis,
            calls=calls,
            misses=misses,
            patience=patience,
            unconfirmed=unconfirmed,
            stories=stories,
        )


def _account_rules(default: AccountRules, account: Account, bridges: Mapping[str, Bridge]) -> AccountRules:
    """Return the rules of an account; its classic requests go to the configured service, else to the bridged one."""
    bridge = bridges.get(account.sid)
    service_sid = account.classic_service_sid or (bridge.service_sid if bridge else None)
    classic = ClassicResolver(service_sid, bridge)
    return replace(default, configuration_id=account.configuration_id or "", classic=classic)
