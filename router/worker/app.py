"""The worker as a process: the composition root of resolving."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from router import metrics
from router.core.addresses import parse_address
from router.core.classic_resolution import Bridge
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
from router.worker.work import report, subject_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from router.core.participants import Configuration
    from router.core.policy import Policy
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


def load_policy(settings: Settings) -> Policy:
    """Return the policy of config/routing.toml; raises PolicyError with every problem."""
    path = settings.config_dir / "routing.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError([f"{path}: {error}"]) from error
    return read_policy(text, str(path))


async def find_configurations(apis: Apis) -> dict[str, Configuration | None]:
    """Return the configuration of each account that has one; None where the API did not tell it."""
    configured = [api for api in apis if api.account.configuration_id]
    found = await asyncio.gather(*[_find_configuration(api) for api in configured])
    return {api.account.sid: configuration for api, configuration in zip(configured, found, strict=True)}


async def _find_configuration(api: Api) -> Configuration | None:
    try:
        async with asyncio.timeout(OWN_TIMEOUT):
            return await api.v2.fetch_configuration(api.account.configuration_id or "")
    except (ApiError, TimeoutError) as error:
        log("configuration.unknown", level="warning", account=api.account.sid, error=type(error).__name__)
        return None


def find_own(configurations: Mapping[str, Configuration | None], settings: Settings) -> frozenset[str]:
    """Return the keys of addresses that are our side whatever happens: the AI agent's, and what is captured for us.

    Without a configuration they are missing: then a participant that Twilio adds as UNKNOWN at one of them, before any
    message to it came by webhook, may be announced.
    """
    own = {parse_address(settings.ai_agent_address).key} if settings.ai_agent_address else set[str]()
    known = [configuration for configuration in configurations.values() if configuration]
    return frozenset(own | {address.key for configuration in known for address in configuration.own_addresses()})


def find_bridges(configurations: Mapping[str, Configuration | None]) -> dict[str, Bridge]:
    """Return the bridges to classic services; a configuration that is not known may have one: better wait in vain."""
    bridges = {}
    for account_id, configuration in configurations.items():
        if configuration is None:
            bridges[account_id] = Bridge()
        elif service_sid := (configuration.conversations_v1_bridge or {}).get("serviceId"):
            bridges[account_id] = Bridge(str(service_sid))
    return bridges


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
    redis = connect(settings.redis)
    apis = make_apis(settings)
    try:
        await ensure_answering(redis)
        configurations = await find_configurations(apis)
        resolver = Resolver(
            store=Store(redis, settings.keys, marker_ttl=settings.marker_ttl),
            apis=apis,
            policy=policy,
            route_ttl=settings.route_ttl,
            always_own=find_own(configurations, settings),
            bridges=find_bridges(configurations),
            classic_lookup=settings.classic_lookup,
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
