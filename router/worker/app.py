"""The worker as a process: the composition root of resolving."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from router import metrics
from router.configured import load_policy, load_voice
from router.core.addresses import Channel, parse_address
from router.core.errors import ApiError
from router.core.keys import RESOLVER
from router.logs import log
from router.operator_port import operator_port
from router.ports import Api, Apis, make_apis, make_limits
from router.process import until_stopped_or
from router.streams.connection import Redis, connect, ensure_answering
from router.streams.consumer import StreamConsumer
from router.streams.delivery import Delivery, StreamRef
from router.streams.ending import end
from router.streams.store import Store
from router.streams.trim import Trimmer
from router.worker.resolver import Resolver
from router.worker.work import report, subject_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.settings import Settings

#: Settings without which nothing can be resolved.
REQUIRED: Final = (
    "redis_url",
    "twilio_account_sid",
    "twilio_auth_token",
    "twilio_conversation_configuration_id",
)
#: Seconds to wait for the configuration at the start.
OWN_TIMEOUT: Final = 5.0


async def find_own(apis: Apis, settings: Settings, *, is_attaching: bool = False) -> frozenset[str]:
    """Return the keys of addresses that are our side whatever happens: the AI agent's, and what is captured for us.

    Without the API they are missing: then a participant that Twilio adds as UNKNOWN at one of them, before any
    message to it came by webhook, may be announced. `is_attaching` if our answers to calls put them into conversations.
    """
    own = {parse_address(settings.ai_agent_address).key} if settings.ai_agent_address else set[str]()
    found = await asyncio.gather(*[_find_captured(api, is_attaching=is_attaching) for api in apis])
    return frozenset(own.union(*found))


async def _find_captured(api: Api, *, is_attaching: bool) -> frozenset[str]:
    """Return the keys of the addresses that an account's configuration captures."""
    try:
        async with asyncio.timeout(OWN_TIMEOUT):
            configuration = await api.v2.fetch_configuration(api.account.configuration_id or "")
    except (ApiError, TimeoutError) as error:
        log("configuration.unknown", level="warning", account=api.account.sid, error=type(error).__name__)
        return frozenset()
    if is_attaching and configuration.captures(Channel.VOICE):
        log("voice.doubled", level="warning", account=api.account.sid)
    return frozenset(address.key for address in configuration.own_addresses())


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
    policy, attaching = load_policy(settings), load_voice(settings).attaching
    redis = connect(settings.redis)
    apis = make_apis(settings)
    try:
        await ensure_answering(redis)
        resolver = Resolver(
            store=Store(redis, settings.keys, marker_ttl=settings.marker_ttl),
            apis=apis,
            policy=policy,
            route_ttl=settings.route_ttl,
            always_own=await find_own(apis, settings, is_attaching=bool(attaching)),
            attaching=attaching,
        )
        consumer = make_consumer(settings, redis, resolver)
        trimmer = Trimmer(redis, settings.keys, retention=settings.stream_retention)
        async with consumer.running():
            trimming = asyncio.create_task(trimmer.run(), name="trim")
            try:
                yield consumer
            finally:
                await end(trimming)
    finally:
        await apis.close()
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
        log(
            "process.failed",
            level="error",
            reason="reading stopped by itself: is the stream or its group gone, or Redis read-only?",
        )
        return 1
    log("process.stopped")
    return 0
