"""Trims streams below what every group has finished with; never by length alone, which could drop unread entries.

What everybody has finished with is kept for the retention all the same, but no more of it than makes a stream
`most` entries long. A stream without a group is left alone: somebody may still come to read it from the beginning. A
group that reads nothing, or never finishes an entry, holds everything from there on; that is logged, once while it
lasts, because only people can tell whether it will ever read on. Dead letters are no business of this: nobody has
finished with them.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from router.core.keys import Keys, Target
from router.logs import log
from router.streams.client.connection import Redis, RedisError, load_script

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two rounds.
PAUSE: Final = 30.0
#: Milliseconds: who needs an entry that is younger than this, and than the retention, is not late.
LATE: Final = 3_600_000
#: Entries that go in one step: a bound on how long one takes, and what Redis itself would stop at.
STEP: Final = 10_000


class Trimmer:
    """`retention` (seconds) is how long entries that every group has finished with are kept all the same.

    `most` is the length above which they go earlier; 0: there is none. `clock` gives ms since 1970.
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
        self._streams = [
            stream
            for partition in range(keys.partitions)
            for stream in (keys.inbound(partition), *(keys.participants(partition, target) for target in Target))
        ]
        self._retention = retention * 1000
        self._most = most
        self._clock = clock
        self._told: dict[str, str] = {}

    async def run(self) -> None:
        """Trim for ever; a failure is logged and the next round tries again."""
        while True:
            await asyncio.sleep(PAUSE)
            for stream in self._streams:
                try:
                    await self.trim(stream)
                except (RedisError, OSError) as error:
                    log("trim.failed", level="warning", stream=stream, error=f"{type(error).__name__}: {error}")

    async def trim(self, stream: str) -> int:
        """Trim one stream, step by step; returns how many entries went."""
        args = [f"{max(0, self._clock() - self._retention)}-0", self._most, STEP]
        gone: int = 0
        while True:
            reply: Any = await load_script("trim").run(self._redis, [stream], args)
            gone += reply[0]
            if not reply[0]:  # a step takes whole nodes only: one that is not full says nothing
                self._tell(stream, reply[1], reply[2].decode("utf-8", "backslashreplace"), reply[3].decode())
                return gone

    def _tell(self, stream: str, entries: int, group: str, oldest: str) -> None:
        """Name the group for which a stream keeps what is older than the retention, or more than it shall hold."""
        is_late = bool(group) and self._clock() - int(oldest.partition("-")[0]) > max(self._retention, LATE)
        is_long = bool(group) and 0 < self._most < entries
        holder = group if is_late or is_long else ""
        if holder and holder != self._told.get(stream):
            log("trim.held", level="warning", stream=stream, group=group, entries=entries, oldest=oldest)
        self._told[stream] = holder
