"""What the servers behind a client say of themselves, one by one: for `check`. Reads only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redis.asyncio.sentinel import SentinelConnectionPool

from router.streams.client.cluster import ClusterClient
from router.streams.client.connection import Redis, RedisError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One server: `name` is its address in a Cluster, else empty; `config` is None where it may not be read."""

    name: str
    info: Mapping[str, Any]
    config: Mapping[str, str] | None
    cluster: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SentinelFacts:
    """What Sentinels say of the primary: how many were asked and answered, and the least that any of them knows."""

    asked: int
    answered: int
    quorum: int
    replicas: int
    others: int


async def read_servers(redis: Redis) -> list[ServerFacts]:
    """Return the facts of each server that has data; raises RedisError or OSError if one does not answer."""
    if isinstance(redis, ClusterClient):
        return [await _read(name, node) for name, node in (await redis.nodes()).items()]
    return [await _read("", redis)]


async def _read(name: str, redis: Redis) -> ServerFacts:
    info: dict[str, Any] = await redis.info()
    cluster: dict[str, str] = {}
    if info.get("cluster_enabled"):
        client: Any = redis  # the library's method has no types
        cluster = _rows(await client.execute_command("CLUSTER INFO"))
    try:
        raw: Any = await redis.config_get("*")
    except RedisError:  # managed servers keep it to themselves
        return ServerFacts(name, info, None, cluster)
    return ServerFacts(name, info, {_text(key): _text(value) for key, value in raw.items()}, cluster)


async def read_sentinels(redis: Redis) -> SentinelFacts | None:
    """Return what the Sentinels of a client say, None if it has none or none of them answers."""
    pool: Any = redis.connection_pool
    if not isinstance(pool, SentinelConnectionPool):
        return None
    states = []
    sentinels = list(pool.sentinel_manager.sentinels)
    for sentinel in sentinels:
        try:
            states.append((await sentinel.sentinel_masters())[pool.service_name])
        except (RedisError, OSError, KeyError):  # away, or it watches something else
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
    """Return the rows of an answer that is text, `name:value` in each line."""
    if isinstance(raw, dict):
        return {_text(name): _text(value) for name, value in raw.items()}
    pairs = (line.partition(":")[::2] for line in _text(raw).splitlines() if ":" in line)
    return {name: value.strip() for name, value in pairs}


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
