"""What the streams look like from outside: lengths, groups, lag. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from router.core.keys import Keys, Target
from router.metrics import forget_gauges, gauge
from router.streams import quarantine

if TYPE_CHECKING:
    from router.streams.connection import Redis


@dataclass(frozen=True, slots=True)
class GroupState:
    """A consumer group: `lag` is what it has not read yet (None where the server cannot tell)."""

    name: str
    consumers: int
    pending: int
    lag: int | None


@dataclass(frozen=True, slots=True)
class StreamState:
    """A stream's length and groups."""

    key: str
    length: int
    groups: tuple[GroupState, ...]


def all_streams(keys: Keys) -> list[str]:
    """Return the keys of all streams of a namespace."""
    return [
        stream
        for partition in range(keys.partitions)
        for stream in (
            keys.inbound(partition),
            *(keys.participants(partition, target) for target in Target),
            keys.dead_letters(partition),
        )
    ]


async def read_stream(redis: Redis, key: str) -> StreamState:
    """Return the state of a stream; one that does not exist is empty."""
    length = await redis.xlen(key)
    try:
        rows: Any = await redis.xinfo_groups(key)
    except ResponseError:
        rows = []
    groups = [GroupState(row["name"].decode(), row["consumers"], row["pending"], row.get("lag")) for row in rows]
    return StreamState(key, length, tuple(groups))


async def update_gauges(redis: Redis, keys: Keys) -> None:
    """Set the stream gauges of router.metrics from Redis."""
    states = [await read_stream(redis, key) for key in all_streams(keys)]
    quarantined = await quarantine.count(redis, keys)
    forget_gauges()
    for reason, number in quarantined.items():
        gauge("router_quarantine_entries", reason, value=number)
    for state in states:
        gauge("router_stream_entries", state.key, value=state.length)
        for group in state.groups:
            gauge("router_group_pending", state.key, group.name, value=group.pending)
            gauge("router_group_consumers", state.key, group.name, value=group.consumers)
            if group.lag is not None:
                gauge("router_group_lag", state.key, group.name, value=group.lag)


async def has_consumer(redis: Redis, keys: Keys, stream: str, group: str) -> bool:
    """Tell whether a consumer of the group is alive and has begun to read."""
    try:
        rows: Any = await redis.xinfo_consumers(stream, group)
    except ResponseError:
        return False
    partition = next(number for number in range(keys.partitions) if f"{{{number}}}" in stream)
    for row in rows:
        if await redis.exists(keys.heartbeat(partition, group, row["name"].decode())):
            return True
    return False
