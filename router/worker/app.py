"""The worker as a process: the composition root of resolving."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from router import metrics
from router.conversations import CallDetails, ConversationsV2, Transport
from router.core.addresses import parse_address
from router.core.keys import RESOLVER
from router.core.policy_file import read_policy
from router.logs import log
from router.operator_port import operator_port
from router.process import until_stopped_or
from router.streams.connection import Redis, connect
from router.streams.consumer import Limits, StreamConsumer
from router.streams.delivery import Delivery, StreamRef
from router.streams.store import Store
from router.streams.trim import Trimmer
from router.worker.resolver import Resolver
from router.worker.work import report, subject_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.core.policy import Policy
    from router.settings import Settings

#: Settings without which nothing can be resolved.
REQUIRED: Final = (
    "redis_url",
    "twilio_account_sid",
    "twilio_auth_token",
    "twilio_conversation_configuration_id",
)


def load_policy(settings: Settings) -> Policy:
    """Return the policy of config/routing.toml; raises PolicyError with every problem."""
    path = settings.config_dir / "routing.toml"
    return read_policy(path.read_text(encoding="utf-8"), str(path))


def make_transport(settings: Settings) -> Transport:
    """Return the connection to the Conversations API, which counts its calls."""
    user, password = settings.api_credentials
    return Transport(
        settings.twilio_conversations_url,
        user,
        password,
        max_in_flight=settings.api_concurrency,
        timeout=settings.api_timeout,
        on_call=_count_call,
    )


def _count_call(call: CallDetails) -> None:
    metrics.count("router_api_calls", call.method, call.route, str(call.status))


def make_limits(settings: Settings) -> Limits:
    """Return a consumer's limits from the settings of the same names."""
    return Limits(
        window=settings.window,
        batch=settings.batch,
        max_deliveries=settings.max_deliveries,
        retry_delay=settings.retry_delay,
        heartbeat_ttl=settings.heartbeat_ttl,
        grace=settings.grace,
    )


def make_consumer(settings: Settings, redis: Redis, resolver: Resolver) -> StreamConsumer:
    """Return the consumer of the inbound streams that feeds `resolver`."""
    keys = settings.keys

    async def intake(deliveries: list[Delivery]) -> list[Delivery]:
        settled, left = await resolver.quick.settle(deliveries, is_busy=consumer.is_busy)
        if settled:
            await consumer.acknowledge([work.delivery for work in settled])
        for work in settled:
            report(work)
        return left

    consumer = StreamConsumer(
        redis=redis,
        url=settings.redis,
        keys=keys,
        streams=[StreamRef(number, keys.inbound(number)) for number in range(keys.partitions)],
        group=RESOLVER,
        limits=make_limits(settings),
        attempt=resolver.slow.attempt,
        subject=subject_of,
        intake=intake,
        on_result=lambda result: metrics.count("router_attempts", RESOLVER, result),
    )
    return consumer


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[StreamConsumer]:
    """Resolve while the block runs."""
    policy = load_policy(settings)
    own = frozenset({parse_address(settings.ai_agent_address).key} if settings.ai_agent_address else ())
    redis = connect(settings.redis)
    transport = make_transport(settings)
    try:
        resolver = Resolver(
            store=Store(redis, settings.keys, marker_ttl=settings.marker_ttl),
            client=ConversationsV2(transport),
            policy=policy,
            configuration_id=settings.twilio_conversation_configuration_id or "",
            route_ttl=settings.route_ttl,
            always_own=own,
        )
        consumer = make_consumer(settings, redis, resolver)
        trimmer = Trimmer(redis, settings.keys, retention=settings.stream_retention)
        async with consumer.running():
            trimming = asyncio.create_task(trimmer.run(), name="trim")
            try:
                yield consumer
            finally:
                trimming.cancel()
                await asyncio.gather(trimming, return_exceptions=True)
    finally:
        await transport.close()
        await redis.aclose()


async def work(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; what is in flight is finished or handed back, then returns 0.

    Returns 1 if reading stops by itself (the consumer group was lost): the platform starts us again, and the group
    with us.
    """
    async with working(settings) as consumer, operator_port(settings):
        log("process.started", consumer=consumer.name, settings=settings.masked())
        is_stopped = await until_stopped_or(consumer.lost())
    if not is_stopped:
        log("process.failed", level="error", reason="reading stopped by itself: is the stream or its group gone?")
        return 1
    log("process.stopped")
    return 0
