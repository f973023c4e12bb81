"""The reading of all streams of a consumer: a reader and its watchdog for each part.

Streams on one server, or behind one address, share a reader: they fail together. In a Cluster each stream is a part of
its own (client.connection.split_by_server), so that a node that is down or hangs holds up no other stream.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from router.streams.consuming.groups import Start
from router.streams.consuming.reader import Reader
from router.streams.consuming.watchdog import Watchdog
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from router.streams.client.connection import Redis
    from router.streams.delivery import Delivery, StreamRef


class Reading:
    """Reads `parts` as `consumer` of `group` and passes batches to `take`.

    `batch` is the largest batch, `pause` the shortest time between two restarts of a reader in seconds. `start` is
    where new groups begin.
    """

    def __init__(
        self,
        redis: Redis,
        url: str,
        parts: Sequence[Sequence[StreamRef]],
        *,
        group: str,
        consumer: str,
        batch: int,
        pause: float,
        take: Callable[[list[Delivery]], Awaitable[None]],
        start: Start = Start.OLDEST,
    ) -> None:
        make_reader = partial(Reader, redis, url, group=group, consumer=consumer, batch=batch, take=take)
        make = partial(Watchdog, redis, group=group, consumer=consumer, pause=pause, start=start)
        self._watchdogs = [make(part, make_reader=partial(make_reader, part)) for part in parts]

    async def start(self) -> None:
        """Create missing groups and begin to read all parts; raises RedisError or OSError."""
        await asyncio.gather(*[watchdog.start() for watchdog in self._watchdogs])

    async def run(self) -> None:
        """Watch the readers until reading has failed for good in every part."""
        tasks = [asyncio.create_task(watchdog.run()) for watchdog in self._watchdogs]
        try:
            await asyncio.gather(*tasks)
        finally:
            await end(*tasks)

    async def stop(self) -> None:
        """Stop reading, after the batches that are being taken."""
        await asyncio.gather(*[watchdog.stop() for watchdog in self._watchdogs])

    async def failed(self) -> None:
        """Return once reading has failed for good in one part."""
        tasks = [asyncio.create_task(watchdog.failed()) for watchdog in self._watchdogs]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(*tasks)
