"""Does what no command triggers: deadlines of requests and offers, lapsed presence, agents who became free.

Every worker runs it; concurrent ones share the work, and what both do has its effect once. It runs when it is woken and
every INTERVAL seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from router.core.events import COMMANDS_SOURCE, Cause
from router.core.routing.wishes import after_lapse
from router.logs import describe, log
from router.streams.client.connection import RedisError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from router.streams.store.desk import Desk
    from router.streams.store.timers import Timers
    from router.worker.floor import FloorPath

#: Seconds between two rounds, unless one is woken. A deadline passes at most that much later.
INTERVAL: Final = 0.25
#: The most conversations that are looked at in one step, at once.
_BATCH: Final = 50


class FloorLoop:
    """`interval` is in seconds, `partitions` the number of partitions."""

    def __init__(
        self, *, floor: FloorPath, desk: Desk, timers: Timers, partitions: int, interval: float = INTERVAL
    ) -> None:
        self._floor = floor
        self._desk = desk
        self._timers = timers
        self._partitions = partitions
        self._interval = interval
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Start the next round now."""
        self._woken.set()

    async def run(self) -> None:
        """Do rounds until canceled. An outage of Redis ends a round and nothing else."""
        while True:
            self._woken.clear()
            try:
                await self.round()
            except (RedisError, OSError) as error:
                log("floor.failed", level="warning", error=describe(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._woken.wait()

    async def round(self) -> None:
        """Do all that is due. Raises RedisError."""
        await self._desk.end_wrap_ups(_BATCH)
        for agent, names in (await self._desk.take_lapsed(_BATCH)).items():
            await self._each([self._lapse(agent, name) for name in names])
        while names := await self._desk.take_placed(_BATCH):
            await self._each([self._look(*_split(name)) for name in names])
            if len(names) < _BATCH:
                break
        for partition in range(self._partitions):
            while due := await self._timers.take(partition, _BATCH):
                await self._each([self._look(*one) for one in due])
                if len(due) < _BATCH:
                    break

    async def _each(self, works: list[Awaitable[None]]) -> None:
        """Do several at once; one that fails is taken again after its lease."""
        for result in await asyncio.gather(*works, return_exceptions=True):
            if isinstance(result, Exception):
                log("floor.failed", level="warning", error=describe(result))

    async def _look(self, account_id: str, conversation_id: str) -> None:
        await self._floor.look(account_id, conversation_id)

    async def _lapse(self, agent: str, name: str) -> None:
        account_id, conversation_id = _split(name)
        cause = Cause(COMMANDS_SOURCE, "LapseHolder", conversation_id, "", self._floor.now * 1000)
        home, now = f"{account_id}/{conversation_id}", self._floor.now
        result = await self._floor.apply(
            account_id, conversation_id, lambda holding: after_lapse(holding, agent, home, now), cause
        )
        if result.refused is not None:
            await self._floor.look(account_id, conversation_id)


def _split(name: str) -> tuple[str, str]:
    account_id, _, conversation_id = name.partition(" ")
    return account_id, conversation_id
