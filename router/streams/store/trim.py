"""Trims streams up to what every group has finished; never by length alone, which could drop unread entries.

Finished entries are kept for the retention, but only as many as make the stream `most` entries long. A stream without a
group is left alone: one may still be created to read it from the beginning. A group that reads nothing, or never
finishes an entry, holds everything after it. That is logged once while it lasts, because only an operator knows whether
the group will continue. Dead letters are never trimmed.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from router.logs import log
from router.streams.client.connection import Redis, RedisError, load_script
from router.streams.store.inspect import consumed_streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.keys import Keys

#: Seconds between two rounds.
PAUSE: Final = 30.0
#: Milliseconds: a group that needs only entries younger than this, or than the retention, is not reported.
LATE: Final = 3_600_000
#: Entries trimmed per step: bounds its time; Redis itself would stop at this number.
STEP: Final = 10_000


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
        args = [f"{max(0, self._clock() - self._retention)}-0", self._most, STEP]
        removed: int = 0
        while True:
            reply: Any = await load_script("trim").run(self._redis, [stream], args)
            removed += reply[0]
            if not reply[0]:  # a step removes whole nodes only, so a small number does not mean that it is the last
                self._report(stream, reply[1], reply[2].decode("utf-8", "backslashreplace"), reply[3].decode())
                return removed

    def _report(self, stream: str, entries: int, group: str, oldest: str) -> None:
        """Log the group that holds entries older than the retention, or more than `most`; once while it lasts."""
        is_late = bool(group) and self._clock() - int(oldest.partition("-")[0]) > max(self._retention, LATE)
        is_long = bool(group) and 0 < self._most < entries
        holder = group if is_late or is_long else ""
        if holder and holder != self._reported.get(stream):
            log("trim.held", level="warning", stream=stream, group=group, entries=entries, oldest=oldest)
        self._reported[stream] = holder
