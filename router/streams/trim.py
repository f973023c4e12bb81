"""Trims streams below what every group has finished with; never by length, which could drop unread entries.

A stream without a group is left alone: somebody may still come to read it from the beginning.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from router.core.keys import Keys, Target
from router.logs import log
from router.streams.connection import Redis, RedisError

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two rounds.
PAUSE: Final = 30.0


class Trimmer:
    """`retention` (seconds) is how long entries that every group has finished with are kept all the same."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        *,
        retention: int,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._redis = redis
        self._streams = [
            stream
            for partition in range(keys.partitions)
            for stream in (keys.inbound(partition), *(keys.participants(partition, target) for target in Target))
        ]
        self._retention = retention * 1000
        self._clock = clock

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
        """Trim one stream; returns how many entries went."""
        try:
            groups: Any = await self._redis.xinfo_groups(stream)
        except ResponseError:
            return 0  # there is no such stream yet
        oldest = [await self._oldest_needed(stream, group) for group in groups]
        if not oldest:
            return 0
        expired = (self._clock() - self._retention, 0)
        millis, number = min([expired, *oldest])
        return int(await self._redis.xtrim(stream, minid=f"{max(millis, 0)}-{number}", approximate=True))

    async def _oldest_needed(self, stream: str, group: dict[str, Any]) -> tuple[int, int]:
        """Return the oldest entry id that a group has not finished with: pending, or not read yet."""
        summary: Any = await self._redis.xpending(stream, group["name"])
        if summary["pending"]:
            return _entry_id(summary["min"])
        millis, number = _entry_id(group["last-delivered-id"])
        return millis, number + 1


def _entry_id(text: bytes) -> tuple[int, int]:
    millis, _, number = text.decode().partition("-")
    return int(millis), int(number or 0)
