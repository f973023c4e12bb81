"""The number of partitions in a running receiver: it appends nothing before it knows that its setting is right.

A receiver must start without Redis, so it may learn only later that its setting is wrong; then it ends. While
`repartition` moves the data, Redis refuses what it appends, and the spool takes it. Afterwards the receiver goes on
with the new number.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from router.core.errors import SettingsError
from router.logs import log
from router.receiver.readiness import REDIS_TIMEOUT
from router.streams.client.connection import Redis, RedisError
from router.streams.store.partitions import WATCH_EVERY, check_partitions, keep_layout, read_layout
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.core.keys import Keys
    from router.settings.model import Settings
    from router.streams.store.append import Appender


class Partitioned(Protocol):
    """A part of the receiver that computes partitions."""

    def use(self, keys: Keys) -> None:
        """Use this number of partitions from now on."""


class PartitionWatch:
    """Watches the number of partitions for one receiver; `keys` has the present one."""

    def __init__(self, redis: Redis, settings: Settings, appender: Appender) -> None:
        self._redis = redis
        self._settings = settings
        self._appender = appender
        self._parts: list[Partitioned] = [appender]
        self._is_known = False
        self.tasks: list[asyncio.Task[None]] = []
        self._refusal: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.keys = settings.keys

    async def start(self, parts: Sequence[Partitioned]) -> None:
        """Ask Redis for the number, and keep it in `parts` from then on; `close` must follow.

        Raises SettingsError if the setting is wrong. If Redis does not answer, nothing is appended until it does.
        """
        self._parts += parts
        self._appender.hold()
        try:
            async with asyncio.timeout(REDIS_TIMEOUT):
                await self._look()
        except (RedisError, OSError):
            pass
        self.tasks = [asyncio.create_task(self._run(), name="partitions")]

    async def close(self) -> None:
        """Stop watching."""
        await end(*self.tasks)

    async def failed(self) -> str:
        """Wait until it turns out that the setting is wrong; returns the reason."""
        return await asyncio.shield(self._refusal)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(WATCH_EVERY)
            try:
                await self._look()
            except (RedisError, OSError):
                continue
            except SettingsError as error:
                self._refusal.set_result("; ".join(error.problems))
                await asyncio.Event().wait()  # the process ends

    async def _look(self) -> None:
        if not self._is_known:
            layout = await read_layout(self._redis, self._settings.keys)
            check_partitions(layout, self._settings.keys)
        else:
            layout = await keep_layout(self._redis, self.keys)
        if not layout.is_open or (self._is_known and layout.new == self.keys.partitions):
            return
        if layout.new != self.keys.partitions:
            log("partitions.changed", level="warning", partitions=layout.new, setting=self._settings.partitions)
            self.keys = self._settings.model_copy(update={"partitions": layout.new}).keys
        self._is_known = True
        for part in self._parts:
            part.use(self.keys)
