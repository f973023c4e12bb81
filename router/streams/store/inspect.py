"""The state of the streams, for metrics and `check`: lengths, groups, lag. Reads only."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from router.core.keys import OWN_GROUPS, Keys, Target
from router.logs import describe_fully
from router.metrics import forget_gauges, gauge
from router.streams.client.connection import load_script, run_all
from router.streams.store import parking, quarantine

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.streams.client.connection import Redis
    from router.streams.store.parking import Lane


#: Nodes of a stream that are measured: all of about 250,000 ordinary entries. Redis does nothing else meanwhile, for
#: some 10 ms at most.
MEASURED: Final = 50_000
#: The same for the metrics, which every receiver reads: some 0.2 ms.
ESTIMATED: Final = 1_000
#: Unread entries that are counted one by one, where the server does not know their number.
COUNTED: Final = 10_000
#: ms since the last read of a consumer without heartbeats (a program of the user's), from which it counts as gone.
GONE: Final = 60_000


@dataclass(frozen=True, slots=True)
class GroupState:
    """A consumer group; `lag` is the number of entries that it has not read (up to COUNTED if the server does not say).

    `oldest_active` is the time (ms) of the oldest entry that is unread or pending, None if there is none. `parked`
    entries wait outside the pending ones; `oldest_parked` is the time of the oldest of them, `lanes` what they wait in.
    """

    name: str
    consumers: int
    pending: int
    lag: int
    oldest_active: int | None = None
    parked: int = 0
    oldest_parked: int | None = None
    lanes: tuple[Lane, ...] = ()

    @property
    def oldest(self) -> int | None:
        """The time (ms) of the oldest entry that it has not finished, None if there is none."""
        return min((one for one in (self.oldest_active, self.oldest_parked) if one is not None), default=None)


@dataclass(frozen=True, slots=True)
class Backlog:
    """The entries that wait for a group: unread ones (up to COUNTED where the server does not know), and pending ones.

    `oldest` is the time (ms) of the oldest unread entry. `is_read`: a consumer of the group is alive.
    """

    unread: int
    pending: int
    oldest: int | None
    is_read: bool


@dataclass(frozen=True, slots=True)
class Consumer:
    """A consumer of a group: its pending entries, ms since it last read, and whether it beats or has read lately."""

    name: str
    pending: int
    idle_ms: int
    is_alive: bool


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """An entry that a consumer has read and not finished."""

    entry_id: str
    consumer: str


@dataclass(frozen=True, slots=True)
class StreamState:
    """A stream's length, its bytes (estimated if it is large) and its groups."""

    key: str
    length: int
    size: int
    groups: tuple[GroupState, ...]


def consumed_streams(keys: Keys, partition: int) -> list[str]:
    """Return the keys of a partition's streams that consumers read."""
    targets = (keys.participants(partition, target) for target in Target)
    return [keys.inbound(partition), *targets, keys.commands(partition)]


def all_streams(keys: Keys) -> list[str]:
    """Return the keys of all streams of a namespace."""
    return [
        stream
        for partition in range(keys.partitions)
        for stream in (*consumed_streams(keys, partition), keys.dead_letters(partition))
    ]


async def read_stream(redis: Redis, keys: Keys, key: str) -> StreamState:
    """Return the state of a stream; a stream that does not exist is empty."""
    shared = [keys.shared(partition) for partition in range(keys.partitions) if key == keys.inbound(partition)]
    length, size = await measure_stream(redis, [key, *shared], nodes=ESTIMATED)
    try:
        rows: Any = await redis.xinfo_groups(key)
    except ResponseError:
        rows = []
    groups = [await _read_group(redis, keys, key, row["name"]) for row in rows]
    return StreamState(key, length, size, tuple([group for group in groups if group is not None]))


async def _read_group(redis: Redis, keys: Keys, key: str, raw_name: bytes) -> GroupState | None:
    """Return the state of a group, None if it is gone; in one step: no entry may be seen neither pending nor parked."""
    name = raw_name.decode("utf-8", "backslashreplace")
    order = keys.parked(key, name, "order")
    pipeline = redis.pipeline(transaction=True)
    pipeline.xinfo_groups(key)
    pipeline.xpending(key, raw_name)
    pipeline.zcard(order)
    pipeline.zrange(order, 0, 0, withscores=True)
    try:
        rows, summary, parked, first = await pipeline.execute()
    except ResponseError as error:
        if "NOGROUP" in str(error) or "no such key" in str(error):
            return None
        raise
    row = next(row for row in rows if row["name"] == raw_name)
    return GroupState(
        name,
        row["consumers"],
        row["pending"],
        await _count_unread(redis, key, row) if row.get("lag") is None else row["lag"],
        await _oldest(redis, key, row, summary),
        parked,
        int(first[0][1]) if first else None,
        tuple(await parking.list_lanes(redis, keys, key, name)) if parked else (),
    )


async def _count_unread(redis: Redis, key: str, row: Any) -> int:
    """Return the number of entries that a group has not read, up to COUNTED.

    The server does not know it after deletions, and of a group that was created behind several entries (at `$`), unless
    it has read all: https://redis.io/docs/latest/commands/xinfo-groups/
    """
    unread: Any = await redis.xrange(key, min=b"(" + row["last-delivered-id"], count=COUNTED)
    return len(unread)


async def _oldest(redis: Redis, key: str, row: Any, summary: Any) -> int | None:
    """Return the time of the oldest entry that a group has pending, or has not read yet."""
    if summary["pending"]:
        return _time(summary["min"])
    unread: Any = await redis.xrange(key, min=b"(" + row["last-delivered-id"], count=1)
    return _time(unread[0][0]) if unread else None


def _time(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])


def _age(time_ms: int | None, now: int) -> float:
    return max(0, now - time_ms) / 1000 if time_ms else 0.0


async def update_gauges(
    redis: Redis, keys: Keys, *, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
) -> None:
    """Set the stream gauges of router.metrics from Redis; `clock` returns ms since 1970."""
    states = [await read_stream(redis, keys, key) for key in all_streams(keys)]
    quarantined, now = await quarantine.count(redis, keys), clock()
    forget_gauges()  # nothing waits from here on, or another request would show half of them
    for reason, number in quarantined.items():
        gauge("router_quarantine_entries", reason, value=number)
    for state in states:
        gauge("router_stream_entries", state.key, value=state.length)
        gauge("router_stream_bytes", state.key, value=state.size)
        for group in state.groups:
            gauge("router_group_pending", state.key, group.name, value=group.pending)
            gauge("router_group_consumers", state.key, group.name, value=group.consumers)
            gauge("router_group_oldest_seconds", state.key, group.name, value=_age(group.oldest, now))
            gauge("router_parked", state.key, group.name, value=group.parked)
            for lane in group.lanes:
                gauge("router_parked_subjects", state.key, group.name, lane.name, value=lane.subjects)
            gauge("router_parked_oldest_seconds", state.key, group.name, value=_age(group.oldest_parked, now))
            gauge("router_group_lag", state.key, group.name, value=group.lag)


async def measure_stream(redis: Redis, names: list[str], *, nodes: int = MEASURED) -> tuple[int, int]:
    """Return the number of entries of a stream, the first of `names`, and the bytes that all of them take.

    The size of a stream with more `nodes` is estimated from the oldest ones.
    """
    entries, size = await load_script("measure").run(redis, names, [nodes])
    return int(entries), int(size)


async def read_backlog(redis: Redis, keys: Keys, stream: str, group: str) -> Backlog:
    """Return the backlog of a group; empty if the group or its stream is gone. Raises RedisError."""
    try:
        rows: Any = await redis.xinfo_groups(stream)
    except ResponseError:
        rows = []
    row = next((row for row in rows if row["name"].decode("utf-8", "backslashreplace") == group), None)
    if row is None:
        return Backlog(0, 0, None, is_read=False)
    lag = await _count_unread(redis, stream, row) if row.get("lag") is None else row["lag"]
    unread: Any = await redis.xrange(stream, min=b"(" + row["last-delivered-id"], count=1)
    oldest = _time(unread[0][0]) if unread else None
    return Backlog(lag, row["pending"], oldest, is_read=await is_group_read(redis, keys, stream, group))


async def is_group_read(redis: Redis, keys: Keys, stream: str, group: str) -> bool:
    """Return whether a consumer of the group is alive: one of ours by its heartbeat, any other by its last read too."""
    return any(consumer.is_alive for consumer in await list_consumers(redis, keys, stream, group))


def _is_recent(group: str, idle: int) -> bool:
    """Return whether a consumer without heartbeats has read lately: a program of the user's. `idle` is in ms."""
    return group not in OWN_GROUPS and idle < GONE


async def last_delivered(redis: Redis, stream: str, group: str) -> str:
    """Return the id of the entry that a group has read last; `0-0` if there is no such group."""
    try:
        rows: Any = await redis.xinfo_groups(stream)
    except ResponseError:
        rows = []
    return next((row["last-delivered-id"].decode() for row in rows if row["name"] == group.encode()), "0-0")


async def list_pending(
    redis: Redis, stream: str, group: str, *, first: str = "-", last: str = "+", count: int = 1
) -> list[PendingEntry]:
    """Return entries that consumers of a group have read and not finished, by id; none if there is no such group."""
    try:
        rows: Any = await redis.xpending_range(stream, group, first, last, count)
    except ResponseError:
        return []
    return [
        PendingEntry(row["message_id"].decode(), row["consumer"].decode("utf-8", "backslashreplace")) for row in rows
    ]


async def find_refusals(redis: Redis, keys: Keys) -> dict[int, str]:
    """Return the error with which Redis refuses writes to a partition, by partition; empty if it takes all."""
    partitions = range(keys.partitions)
    calls = [([keys.fence(one), keys.probe(one)], [keys.partitions]) for one in partitions]
    results = await run_all(redis, load_script("can_append"), calls)
    found = zip(partitions, results, strict=True)
    return {number: describe_fully(result) for number, result in found if isinstance(result, Exception)}


async def list_groups(redis: Redis, stream: str) -> list[str]:
    """Return the names of a stream's groups; none of a stream that does not exist."""
    try:
        rows: Any = await redis.xinfo_groups(stream)
    except ResponseError as error:
        if "no such key" in str(error):
            return []
        raise
    return sorted(row["name"].decode("utf-8", "backslashreplace") for row in rows)


async def list_consumers(redis: Redis, keys: Keys, stream: str, group: str) -> list[Consumer]:
    """Return the consumers of a group; none of a group that does not exist."""
    try:
        rows: Any = await redis.xinfo_consumers(stream, group)
    except ResponseError as error:
        if "NOGROUP" in str(error) or "no such key" in str(error):
            return []
        raise
    partition = next(number for number in range(keys.partitions) if f"{{{number}}}" in stream)
    names = [row["name"].decode("utf-8", "backslashreplace") for row in rows]
    pipeline = redis.pipeline(transaction=False)
    for name in names:
        pipeline.exists(keys.heartbeat(partition, group, name))
    beats = await pipeline.execute() if names else []
    return [
        Consumer(name, row["pending"], row["idle"], is_alive=bool(beat) or _is_recent(group, row["idle"]))
        for name, row, beat in zip(names, rows, beats, strict=True)
    ]


async def has_consumer(redis: Redis, keys: Keys, stream: str, group: str) -> bool:
    """Return whether a consumer that writes heartbeats, as ours do, is alive and has begun to read."""
    try:
        rows: Any = await redis.xinfo_consumers(stream, group)
    except ResponseError:
        return False
    for row in rows:
        if await is_beating(redis, keys, stream, group, row["name"].decode("utf-8", "backslashreplace")):
            return True
    return False


async def is_beating(redis: Redis, keys: Keys, stream: str, group: str, consumer: str) -> bool:
    """Return whether a consumer of the group on this stream has renewed its heartbeat."""
    partition = next(number for number in range(keys.partitions) if f"{{{number}}}" in stream)
    return bool(await redis.exists(keys.heartbeat(partition, group, consumer)))
