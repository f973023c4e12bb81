"""Does what no command triggers: deadlines of requests and offers, lapsed presence, agents who became free.

Every worker runs it; concurrent ones share the work, and what both do has its effect once. It runs when it is woken,
when something is due, and every INTERVAL seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from functools import partial
from typing import TYPE_CHECKING, Final

from router.core.events import COMMANDS_SOURCE, Cause
from router.core.routing.inputs import OWN_EVENTS, LapseHolder
from router.core.routing.wishes import after_lapse
from router.logs import describe, log
from router.streams.client.connection import RedisError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.streams.store.desk import Desk
    from router.streams.store.timers import Timers
    from router.worker.floor import FloorPath

#: The most seconds between two rounds. A deadline that another process set, and died, passes at most that much later.
INTERVAL: Final = 1.0
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
        self._next_at: float = 0
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Start the next round now."""
        self.wake_at(0)

    def wake_at(self, due: int) -> None:
        """Start the next round at `due` (ms since 1970), if none begins before."""
        if due < self._next_at:
            self._next_at = due
            self._changed.set()

    async def run(self) -> None:
        """Do rounds until canceled. An outage of Redis ends a round and nothing else."""
        while True:
            self._next_at, due = math.inf, None
            try:
                due = await self.round()
            except (RedisError, OSError) as error:
                log("floor.failed", level="warning", error=describe(error))
            latest = self._floor.now + self._interval * 1000
            self._next_at = min(self._next_at, latest, latest if due is None else due)
            await self._wait()

    async def _wait(self) -> None:
        while (pause := self._next_at - self._floor.now) > 0:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause / 1000):
                    await self._changed.wait()

    async def round(self) -> int | None:
        """Do all that is due; returns when more is (ms since 1970), None if nothing is planned. Raises RedisError."""
        while True:
            due = await self._desk.round(_BATCH)
            for agent, names in due.lapsed.items():
                await self._each([partial(self._lapse, agent, name) for name in names])
            await self._each([partial(self._look, *_split(name)) for name in due.placed])
            if len(due.placed) < _BATCH:
                break
        times = [due.next_at, *await asyncio.gather(*map(self._do_timers, range(self._partitions)))]
        return min((one for one in times if one is not None), default=None)

    async def _do_timers(self, partition: int) -> int | None:
        """Look at the conversations of a partition that are due; returns when the next ones are."""
        while True:
            due = await self._timers.take(partition, _BATCH)
            await self._each([partial(self._look, *one) for one in due.conversations])
            if len(due.conversations) < _BATCH:
                return due.next_at

    async def _each(self, works: list[Callable[[], Awaitable[None]]]) -> None:
        """Do several, some at once; one that fails is taken again after its lease."""
        for first in range(0, len(works), _BATCH):
            part = [work() for work in works[first : first + _BATCH]]
            for result in await asyncio.gather(*part, return_exceptions=True):
                if isinstance(result, Exception):
                    log("floor.failed", level="warning", error=describe(result))

    async def _look(self, account_id: str, conversation_id: str) -> None:
        await self._floor.look(account_id, conversation_id)

    async def _lapse(self, agent: str, name: str) -> None:
        account_id, conversation_id = _split(name)
        cause = Cause(COMMANDS_SOURCE, OWN_EVENTS[LapseHolder], conversation_id, "", self._floor.now * 1000)
        home, now = f"{account_id}/{conversation_id}", self._floor.now
        result = await self._floor.apply(
            account_id, conversation_id, lambda holding: after_lapse(holding, agent, home, now), cause
        )
        if result.refused is not None:
            await self._floor.look(account_id, conversation_id)


def _split(name: str) -> tuple[str, str]:
    account_id, _, conversation_id = name.partition(" ")
    return account_id, conversation_id
