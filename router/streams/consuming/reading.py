"""The reading of a consumer: who takes care of which of its streams.

One server, or one primary behind Sentinels, is read as a whole: what happens to one stream's connection happens to all.
In a Cluster each stream is read, watched and claimed from by itself, so that a node that is away or hangs holds up
nothing but what lies on it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from router.streams.client.cluster import ClusterClient
from router.streams.client.url import ServerKind, parse_redis_url
from router.streams.consuming.reader import Reader
from router.streams.consuming.watchdog import Watchdog
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from router.streams.client.connection import Redis
    from router.streams.delivery import Delivery, StreamRef


def part_streams(url: str, streams: Sequence[StreamRef]) -> list[list[StreamRef]]:
    """Return the streams in the parts that are taken care of each by itself."""
    if parse_redis_url(url).kind is ServerKind.CLUSTER:
        return [[stream] for stream in streams]
    return [list(streams)]


def reader_maker(
    redis: Redis,
    url: str,
    group: str,
    consumer: str,
    batch: int,
    take: Callable[[list[Delivery]], Awaitable[None]],
) -> Callable[[Sequence[StreamRef]], Reader]:
    """Return what makes a reader of a part; in a Cluster it goes where the map of `redis` says that the part lies."""
    cluster = redis if isinstance(redis, ClusterClient) else None
    return lambda part: Reader(url, part, group=group, consumer=consumer, batch=batch, take=take, cluster=cluster)


class Reading:
    """A watchdog for each part of the streams; `pause` is the shortest between two beginnings, in seconds."""

    def __init__(
        self,
        redis: Redis,
        parts: Sequence[Sequence[StreamRef]],
        *,
        group: str,
        consumer: str,
        pause: float,
        make_reader: Callable[[Sequence[StreamRef]], Reader],
    ) -> None:
        self._watchdogs = [
            Watchdog(
                redis,
                part,
                group=group,
                consumer=consumer,
                pause=pause,
                make_reader=lambda part=part: make_reader(part),  # type: ignore[misc]
            )
            for part in parts
        ]

    async def start(self) -> None:
        """Create what is missing and begin to read everywhere; raises RedisError or OSError."""
        await asyncio.gather(*[watchdog.start() for watchdog in self._watchdogs])

    async def run(self) -> None:
        """Watch for ever, or until reading has ended for good everywhere."""
        tasks = [asyncio.create_task(watchdog.run()) for watchdog in self._watchdogs]
        try:
            await asyncio.gather(*tasks)
        finally:
            await end(*tasks)

    async def stop(self) -> None:
        """Stop reading; batches that are being taken are waited for."""
        await asyncio.gather(*[watchdog.stop() for watchdog in self._watchdogs])

    async def failed(self) -> None:
        """Return once the reading of a part has ended for good."""
        tasks = [asyncio.create_task(watchdog.failed()) for watchdog in self._watchdogs]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(*tasks)
