"""Trims streams up to what every group has finished; never by length alone, which could drop unread entries.

Finished entries are kept for the retention, but only as many as make the stream `most` entries long. A stream without a
group is left alone: one may still be created to read it from the beginning. A group that reads nothing, or never
finishes an entry, holds everything after it. That is logged once while it lasts, because only an operator knows whether
the group will continue. Dead letters are never trimmed.

A parked entry (router.streams.store.parking) holds only itself: finished entries between parked ones are deleted one by
one, up to ROUND entries looked at in a round, from where the last round ended.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from router.logs import log
from router.streams.client.connection import Redis, RedisError, load_script
from router.streams.store.inspect import consumed_streams

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


class Trimmer:
    """Trims the streams of all partitions; finished entries are kept for `retention` seconds.

    Above a length of `most` entries they go earlier; 0: no such limit. `clock` returns ms since 1970.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        *,
        retention: int,
        most: int = 0,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._streams = [stream for partition in range(keys.partitions) for stream in consumed_streams(keys, partition)]
        self._retention = retention * 1000
        self._most = most
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
                    log("trim.failed", level="warning", stream=stream, error=f"{type(error).__name__}: {error}")

    async def trim(self, stream: str) -> int:
        """Trim one stream, step by step; returns the number of entries removed."""
        groups = await self._groups(stream)
        names = [stream, *(self._keys.parked(stream, group, "order") for group in groups)]
        oldest = f"{max(0, self._clock() - self._retention)}-0"
        removed: int = 0
        while True:
            reply: Any = await load_script("trim").run(self._redis, names, [oldest, self._most, STEP, *groups])
            removed += reply[0]
            if not reply[0]:  # a step removes whole nodes only, so a small number does not mean that it is the last
                self._report(stream, reply[1], reply[2].decode("utf-8", "backslashreplace"), reply[3].decode())
                if reply[4]:
                    is_long = 0 < self._most < reply[1]
                    removed += await self._trim_between(names, groups, LAST if is_long else oldest)
                return removed

    async def _groups(self, stream: str) -> list[str]:
        try:
            rows: Any = await self._redis.xinfo_groups(stream)
        except ResponseError:  # there is no such stream
            return []
        return [row["name"].decode("utf-8", "surrogateescape") for row in rows]

    async def _trim_between(self, names: Sequence[str], groups: Sequence[str], before: str) -> int:
        """Delete finished entries older than `before` that are between parked ones; returns their number."""
        stream, *orders = names
        removed: int = 0
        for _ in range(0, ROUND, STEP_BETWEEN):
            reply: Any = await load_script("trim_between").run(
                self._redis,
                [stream, self._keys.trim_cursor(stream), *orders],
                [before, STEP_BETWEEN, CURSOR_LIFE, *groups],
            )
            removed += reply[0]
            if reply[1] == b"1":
                break
        return removed

    def _report(self, stream: str, entries: int, group: str, oldest: str) -> None:
        """Log the group that holds entries older than the retention, or more than `most`; once while it lasts."""
        is_late = bool(group) and self._clock() - int(oldest.partition("-")[0]) > max(self._retention, LATE)
        is_long = bool(group) and 0 < self._most < entries
        holder = group if is_late or is_long else ""
        if holder and holder != self._reported.get(stream):
            log("trim.held", level="warning", stream=stream, group=group, entries=entries, oldest=oldest)
        self._reported[stream] = holder
