"""The number of partitions over the life of a consuming process: checked at its start, and changed while it runs.

While `repartition` moves the data the process stops consuming, as at SIGTERM, and waits; then it goes on with the new
number. Its setting counts at the start only.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from router.logs import log
from router.process.runner import run_consumer
from router.streams.client.connection import connect
from router.streams.store.partitions import check_partitions, read_layout, until_moved, until_open

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from router.settings.model import Settings
    from router.streams.client.connection import Redis
    from router.streams.consuming.consumer import StreamConsumer

    Make = Callable[[Settings], AbstractAsyncContextManager[StreamConsumer]]


async def run_partitioned(make: Make, settings: Settings, **details: str) -> int:
    """Run the consumer that `make` returns as a process, again after each repartition (router.process.runner).

    Raises SettingsError if the setting is not the number of partitions that Redis keeps.
    """
    process = _Process(make, settings)
    status = None
    while status is None:
        status = await run_consumer(process.consuming, settings, moved=process.moved, **details)
    return status


class _Process:
    def __init__(self, make: Make, settings: Settings) -> None:
        self._make = make
        self._settings = settings
        self._is_checked = False

    @asynccontextmanager
    async def consuming(self) -> AsyncIterator[StreamConsumer]:
        """Consume with the number of partitions that Redis keeps; waits while the data is moved."""
        redis = connect(self._settings.redis)
        try:
            await self._join(redis)
        finally:
            await redis.aclose()
        async with self._make(self._settings) as consumer:
            yield consumer

    async def moved(self) -> None:
        """Return once the data is to be moved."""
        redis = connect(self._settings.redis)
        try:
            await until_moved(redis, self._settings.keys)
        finally:
            await redis.aclose()

    async def _join(self, redis: Redis) -> None:
        layout = await read_layout(redis, self._settings.keys)
        if not self._is_checked:
            check_partitions(layout, self._settings.keys)
            self._is_checked = True
        if not layout.is_open:
            log("partitions.moving", old=layout.old, new=layout.new)
        number = await until_open(redis, self._settings.keys)
        if number != self._settings.partitions:
            log("partitions.changed", level="warning", partitions=number, setting=self._settings.partitions)
            self._settings = self._settings.model_copy(update={"partitions": number})
