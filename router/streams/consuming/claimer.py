"""Takes over the entries of dead consumers, and our own entries that never reached us.

A consumer is dead when two scans in a row found no heartbeat: after an outage of Redis every heartbeat has expired, and
live consumers beat again before the second scan. A scan that does not find our own heartbeat either proves nothing:
Redis can then be read but not written. A live consumer keeps its entries however slow it is.

An entry that is pending for us but not in our window is a stray: its delivery was lost on the way (the connection broke
after XREADGROUP). It is taken up again once it has been idle for two heartbeats. Claims carry a minimum idle time, so
only one of two survivors gets an entry (https://redis.io/docs/latest/commands/xclaim/). The same step counts the crash
for the entries that may have caused it (router.streams.consuming.poison_isolation). Each scan also notes how far the
group has come (router.streams.consuming.groups).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from router.logs import describe, describe_fully, log
from router.streams.client.connection import Redis, RedisError
from router.streams.consuming.groups import note_progress
from router.streams.consuming.poison_isolation import CrashCounts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from collections.abc import Set as AbstractSet

    from router.core.keys import Keys
    from router.streams.delivery import Delivery, StreamRef


class Claimer:
    """Scans every quarter of `ttl` seconds (the heartbeat's) and passes the entries that it claims to `take`.

    `held` are the (stream, entry id) that the consumer works on, kept up to date by it.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        streams: Sequence[StreamRef],
        *,
        group: str,
        consumer: str,
        ttl: float,
        batch: int,
        held: AbstractSet[tuple[str, str]],
        take: Callable[[list[Delivery]], Awaitable[None]],
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._streams = streams
        self._group = group
        self._consumer = consumer
        self._ttl = ttl
        self._batch = batch
        self._held = held
        self._take = take
        self._crashes = CrashCounts(redis, keys, group=group, consumer=consumer)
        self._missed: dict[str, set[str]] = {}  # by stream: consumers without a heartbeat in the last scan
        self._logged: dict[str, str] = {}

    async def run(self) -> None:
        """Scan until canceled; a failure is logged once while it lasts, and the next scan tries again."""
        while True:
            for stream in self._streams:
                level, reason = "warning", ""
                try:
                    await self.scan(stream)
                except (RedisError, OSError) as error:
                    reason = describe_fully(error)
                except Exception as error:  # noqa: BLE001 - without its claimer a consumer would lose its strays
                    level, reason = "error", describe(error)
                if reason and reason != self._logged.get(stream.key):  # once per outage, not once per scan
                    log("claimer.failed", level=level, stream=stream.key, error=reason)
                self._logged[stream.key] = reason
            await asyncio.sleep(self._ttl / 4)

    async def scan(self, stream: StreamRef) -> None:
        """Claim the entries of dead consumers of `stream`, and our own strays."""
        missed = self._missed.pop(stream.key, set())  # after a scan that fails the count starts anew
        consumers = await self._consumers(stream)
        ours = consumers.pop(self._consumer, 0)
        silent = await self._without_heartbeat(stream, [*consumers])
        for consumer in silent:
            if consumer not in missed:
                continue
            claimed = await self._claim_all(stream, consumer, int(self._ttl * 500))
            if claimed:
                log("claimed", stream=stream.key, group=self._group, from_consumer=consumer, entries=claimed)
            await self._crashes.forget_consumer(stream, consumer)
        if ours > sum(key == stream.key for key, _ in self._held):  # otherwise there are no strays to page through
            await self._claim_all(stream, self._consumer, int(self._ttl * 2000))
        self._missed[stream.key] = set(silent)
        await note_progress(self._redis, stream.key, self._group)

    async def _consumers(self, stream: StreamRef) -> dict[str, int]:
        """Return the number of pending entries of each consumer of the group."""
        try:
            rows: Any = await self._redis.xinfo_consumers(stream.key, self._group)
        except ResponseError as error:
            if "NOGROUP" in str(error) or "no such key" in str(error):
                return {}
            raise
        return {row["name"].decode(): row["pending"] for row in rows}

    async def _without_heartbeat(self, stream: StreamRef, consumers: list[str]) -> list[str]:
        """Return the consumers without a heartbeat; none of them if our own is missing too: nobody can beat then."""
        if not consumers:
            return []
        pipeline = self._redis.pipeline(transaction=False)
        for consumer in (self._consumer, *consumers):
            pipeline.exists(self._keys.heartbeat(stream.partition, self._group, consumer))
        ours, *beats = await pipeline.execute()
        return [consumer for consumer, beat in zip(consumers, beats, strict=True) if ours and not beat]

    async def _claim_all(self, stream: StreamRef, consumer: str, min_idle: int) -> int:
        """Claim a consumer's pending entries in order, batch by batch; returns how many."""
        claimed, start = 0, "-"
        while True:
            rows: Any = await self._redis.xpending_range(
                stream.key, self._group, min=start, max="+", count=self._batch, consumername=consumer, idle=min_idle
            )
            ids = [row["message_id"].decode() for row in rows]
            wanted = [entry_id for entry_id in ids if (stream.key, entry_id) not in self._held]
            if wanted:
                claimed += await self._claim(stream, consumer, wanted, min_idle)
            if len(ids) < self._batch:
                return claimed
            start = f"({ids[-1]}"

    async def _claim(self, stream: StreamRef, consumer: str, ids: list[str], min_idle: int) -> int:
        deliveries = await self._crashes.take_over(stream, consumer, min_idle, ids)
        if deliveries:
            await self._take(deliveries)
        return len(deliveries)
