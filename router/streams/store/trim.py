"""Trims streams up to what every group has finished; never by length alone, which could drop unread entries.

Finished entries are kept for the retention, but only as many as make the stream `most` entries long or `most_bytes`
large; the bodies that inbound entries share count too, and go when nothing refers to them. A stream without a group is
left alone: one may still be created to read it from the beginning. A group that reads nothing, or never finishes an
entry, holds everything after it. That is logged once while it lasts, because only an operator knows whether the group
will continue. Dead letters are never trimmed.

A parked entry (router.streams.store.parking) holds only itself: finished entries between parked ones are deleted one by
one, up to ROUND entries looked at in a round, from where the last round ended.
"""

from __future__ import annotations

import asyncio
import time
from math import ceil
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from redis.exceptions import ResponseError

from router.logs import describe, describe_fully, log
from router.streams.client.connection import Redis, RedisError, load_script
from router.streams.store.inspect import consumed_streams, measure_stream
from router.streams.store.shared_bodies import remove_unused, shared_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from router.core.keys import Keys

#: Seconds between two rounds.
PAUSE: Final = 30.0
#: Milliseconds: a group that needs only entries younger than this, or than the retention, is not reported.
LATE: Final = 3_600_000
#: Entries trimmed per step: bounds its time; Redis itself would stop at this number.
STEP: Final = 10_000
#: Entries between parked ones looked at per step, and in a round: a millisecond of Redis each step.
STEP_BETWEEN: Final = 200
ROUND: Final = 40_000
#: Seconds for which the place is remembered where a round between parked entries ended.
CURSOR_LIFE: Final = 86_400
#: An id above all others.
LAST: Final = "18446744073709551615-18446744073709551615"
#: The parts of its surplus that a stream that is too large loses in one round, measured anew before each: halves first,
#: because the oldest entries may be much larger than the others.
PARTS: Final = (2, 2, 2, 2, 1, 1, 1)


class _Trimmed(NamedTuple):
    """The numbers of entries removed and left, the bound, the group that holds back the most, and what it needs."""

    removed: int
    entries: int
    most: int
    holder: str
    oldest: str


class Trimmer:
    """Trims the streams of all partitions; finished entries are kept for `retention` seconds.

    Above a length of `most` entries or a size of `most_bytes` they go earlier; 0: no such limit. `clock` returns ms
    since 1970.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        *,
        retention: int,
        most: int = 0,
        most_bytes: int = 0,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._streams = [stream for partition in range(keys.partitions) for stream in consumed_streams(keys, partition)]
        self._inbound = {keys.inbound(partition): partition for partition in range(keys.partitions)}
        self._retention = retention * 1000
        self._most = most
        self._most_bytes = most_bytes
        self._clock = clock
        self._reported: dict[str, str] = {}  # by stream: the group that was logged

    async def run(self) -> None:
        """Trim until canceled; a failure is logged and the next round tries again."""
        while True:
            await asyncio.sleep(PAUSE)
            for stream in self._streams:
                try:
                    await self.trim(stream)
                except (RedisError, OSError) as error:
                    log("trim.failed", level="warning", stream=stream, error=describe_fully(error))
                except Exception as error:  # noqa: BLE001 - the root of a task that must not end
                    log("trim.failed", level="error", stream=stream, error=describe(error))

    async def trim(self, stream: str) -> int:
        """Trim one stream, step by step; returns the number of entries removed."""
        trimmed = await self._trim(stream, self._most)
        removed = trimmed.removed
        for part in PARTS if self._most_bytes else ():
            most = await self._fitting(stream, part)
            if not most:
                break
            trimmed = await self._trim(stream, most)
            removed += trimmed.removed
            if part == 1 and not trimmed.removed:
                break
        self._report(stream, trimmed)
        return removed

    async def _fitting(self, stream: str, part: int) -> int:
        """Return the number of entries without a `part` of the surplus in bytes; 0 if the stream is not too large."""
        shared = [self._keys.shared(self._inbound[stream])] if stream in self._inbound else []
        entries, size = await measure_stream(self._redis, [stream, *shared])
        if size <= self._most_bytes:
            return 0
        surplus = entries * (size - self._most_bytes) / size
        return max(1, entries - ceil(surplus / part))

    async def _trim(self, stream: str, most: int) -> _Trimmed:
        """Trim a stream to its retention and to `most` entries, and remove the shared bodies that are unused then."""
        groups = await self._groups(stream)
        names = [stream, *(self._keys.parked(stream, group, "order") for group in groups)]
        oldest = f"{max(0, self._clock() - self._retention)}-0"
        removed: int = 0
        while True:
            reply: Any = await load_script("trim").run(self._redis, names, [oldest, most, STEP, *groups])
            removed += reply[0]
            if not reply[0]:  # a step removes whole nodes only, so a small number does not mean that it is the last
                break
        if reply[4]:
            is_long = 0 < most < reply[1]
            removed += await self._trim_between(names, groups, LAST if is_long else oldest)
        if stream in self._inbound:
            await remove_unused(self._redis, self._keys, self._inbound[stream])
        return _Trimmed(removed, reply[1], most, reply[2].decode("utf-8", "backslashreplace"), reply[3].decode())

    async def _groups(self, stream: str) -> list[str]:
        try:
            rows: Any = await self._redis.xinfo_groups(stream)
        except ResponseError:  # there is no such stream
            return []
        return [row["name"].decode("utf-8", "surrogateescape") for row in rows]

    async def _trim_between(self, names: Sequence[str], groups: Sequence[str], before: str) -> int:
        """Delete finished entries older than `before` that are between parked ones; returns their number."""
        stream, *orders = names
        shared = shared_keys(self._keys, self._inbound[stream]) if stream in self._inbound else []
        removed: int = 0
        for _ in range(0, ROUND, STEP_BETWEEN):
            reply: Any = await load_script("trim_between").run(
                self._redis,
                [stream, self._keys.trim_cursor(stream), *orders, *shared],
                [before, STEP_BETWEEN, CURSOR_LIFE, *groups],
            )
            removed += reply[0]
            if reply[1] == b"1":
                break
        return removed

    def _report(self, stream: str, trimmed: _Trimmed) -> None:
        """Log the group that holds entries older than the retention, or too many of them; once while it lasts."""
        entries, group, oldest = trimmed.entries, trimmed.holder, trimmed.oldest
        is_late = bool(group) and self._clock() - int(oldest.partition("-")[0]) > max(self._retention, LATE)
        is_long = bool(group) and 0 < trimmed.most < entries
        holder = group if is_late or is_long else ""
        if holder and holder != self._reported.get(stream):
            log("trim.held", level="warning", stream=stream, group=group, entries=entries, oldest=oldest)
        self._reported[stream] = holder
