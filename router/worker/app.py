"""The worker as a process: the composition root of resolving."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from router import metrics
from router.core.accounts_file import CREDENTIALS
from router.core.addresses import parse_address
from router.core.errors import ApiError, PolicyError
from router.core.keys import RESOLVER
from router.core.policy_file import read_policy
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
from router.worker.work import account_of, report, subject_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.core.policy import Policy
    from router.settings import Settings

#: Settings without which nothing can be resolved.
REQUIRED: Final = (
    "redis_url",
    "twilio_account_sid",
    CREDENTIALS,
    "twilio_conversation_configuration_id",
)
#: Seconds to wait for the configuration at the start.
OWN_TIMEOUT: Final = 5.0


def load_policy(settings: Settings) -> Policy:
    """Return the policy of config/routing.toml; raises PolicyError with every problem."""
    path = settings.config_dir / "routing.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError([f"{path}: {error}"]) from error
    return read_policy(text, str(path))


def find_own(settings: Settings) -> frozenset[str]:
    """Return the keys of addresses that are our side in every account: the AI agent's."""
    return frozenset({parse_address(settings.ai_agent_address).key}) if settings.ai_agent_address else frozenset()


async def find_captured(apis: Apis) -> dict[str, frozenset[str]]:
    """Return the keys of the addresses that each account's configuration captures: our side in that account.

    Without the API they are missing: then a participant that Twilio adds as UNKNOWN at one of them, before any
    message to it came by webhook, may be announced.
    """
    found = await asyncio.gather(*[_find_captured(api) for api in apis])
    return {api.account.sid: keys for api, keys in zip(apis, found, strict=True)}


async def _find_captured(api: Api) -> frozenset[str]:
    """Return the keys of the addresses that an account's configuration captures."""
    try:
        async with asyncio.timeout(OWN_TIMEOUT):
            configuration = await api.v2.fetch_configuration(api.account.configuration_id or "")
    except (ApiError, TimeoutError) as error:
        log("configuration.unknown", level="warning", account=api.account.sid, error=type(error).__name__)
        return frozenset()
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
        account=account_of if len(settings.accounts) > 1 else None,
        on_result=lambda result: metrics.count("router_attempts", RESOLVER, result),
    )
    return consumer


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[StreamConsumer]:
    """Resolve while the block runs."""
    policy = load_policy(settings)
    redis = connect(settings.redis)
    apis = make_apis(settings)
    try:
        await ensure_answering(redis)
        resolver = Resolver(
            store=Store(redis, settings.keys, marker_ttl=settings.marker_ttl),
            apis=apis,
            policy=policy,
            route_ttl=settings.route_ttl,
            text_limit=settings.text_limit,
            always_own=find_own(settings),
            captured=await find_captured(apis),
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
