"""Facts that the servers of a deployment report about themselves, for `check`. Reads only."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import NoPermissionError

from router.streams.client.cluster import ClusterClient
from router.streams.client.connection import Redis, RedisError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


#: From this version on, XAUTOCLAIM's reply and scripts that call TIME before they write are as this project needs them.
OLDEST_REDIS: Final = (7, 0)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One server that holds data.

    `name` is its address in a Cluster, else empty; `config` is None if CONFIG is refused; `cluster` is CLUSTER INFO.
    `skew`: seconds by which this host's clock is ahead of the server's, None if the server does not tell its time.
    """

    name: str
    info: Mapping[str, Any]
    config: Mapping[str, str] | None
    cluster: Mapping[str, str] = field(default_factory=dict)
    skew: float | None = None


@dataclass(frozen=True, slots=True)
class SentinelFacts:
    """How many Sentinels were asked and answered, and what they report of the primary: the lowest of their numbers."""

    asked: int
    answered: int
    quorum: int
    replicas: int
    others: int


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """All servers of a deployment; `sentinels` is None if there are none, or none of them answers."""

    servers: Sequence[ServerFacts]
    sentinels: SentinelFacts | None = None


async def read_deployment(redis: Redis) -> DeploymentFacts:
    """Return the facts of all servers; raises RedisError or OSError if one with data does not answer."""
    if isinstance(redis, ClusterClient):
        return DeploymentFacts([await _read(name, node) for name, node in (await redis.nodes()).items()])
    return DeploymentFacts([await _read("", redis)], await _read_sentinels(redis))


def age_problem(info: Mapping[str, Any]) -> str | None:
    """Return the problem with the version that INFO tells, None if nothing is."""
    version = str(info.get("redis_version", "0.0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    return None if numbers >= OLDEST_REDIS else f"{version} is too old, 7.0 or newer is needed"


async def find_age_problem(redis: Redis) -> str | None:
    """Return the problem with the version of a server, None if nothing is, or INFO is refused to this user.

    Raises RedisError or OSError if one does not answer.
    """
    try:
        facts = await read_deployment(redis)
    except NoPermissionError:
        return None
    return next((problem for server in facts.servers if (problem := age_problem(server.info))), None)


async def _read(name: str, redis: Redis) -> ServerFacts:
    info: dict[str, Any] = await redis.info()
    server_time = info.get("server_time_usec")
    skew = None if server_time is None else time.time() - int(server_time) / 1_000_000
    cluster: dict[str, str] = {}
    if info.get("cluster_enabled"):
        client: Any = redis  # redis-py's method has no types
        cluster = _rows(await client.execute_command("CLUSTER INFO"))
    try:
        raw: Any = await redis.config_get("*")
    except RedisError:  # managed servers refuse CONFIG
        return ServerFacts(name, info, None, cluster, skew)
    return ServerFacts(name, info, {_text(key): _text(value) for key, value in raw.items()}, cluster, skew)


async def _read_sentinels(redis: Redis) -> SentinelFacts | None:
    pool: Any = redis.connection_pool
    if not isinstance(pool, SentinelConnectionPool):
        return None
    states = []
    sentinels = list(pool.sentinel_manager.sentinels)
    for sentinel in sentinels:
        try:
            states.append((await sentinel.sentinel_masters())[pool.service_name])
        except (RedisError, OSError, KeyError):  # it is down, or watches other services
            continue
    if not states:
        return None
    return SentinelFacts(
        asked=len(sentinels),
        answered=len(states),
        quorum=max(state["quorum"] for state in states),
        replicas=min(state["num-slaves"] for state in states),
        others=min(state["num-other-sentinels"] for state in states),
    )


def _rows(raw: Any) -> dict[str, str]:
    """Return the rows of a reply that is text, `name:value` in each line."""
    if isinstance(raw, dict):
        return {_text(name): _text(value) for name, value in raw.items()}
    pairs = (line.partition(":")[::2] for line in _text(raw).splitlines() if ":" in line)
    return {name: value.strip() for name, value in pairs}


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
