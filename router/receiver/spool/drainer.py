"""Feeds what is in the spool back to Redis, oldest first, and takes over what dead processes left on this disk.

An event leaves the spool after Redis has confirmed it, so a crash between the two feeds it again; and one that had
reached Redis when it was spooled (the answer was lost) is fed too. Both are duplicates by then: the claim of the
idempotency key says so. Claims live as long after the receipt of the webhook as they would have without the spool.

In a Cluster a node may be away while the others are not: the events of its partitions stay, and those of the others
are fed past them, in order within each partition.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from router import metrics
from router.core.backoff import backoff
from router.core.errors import NotDurableError
from router.core.keys import Keys
from router.logs import describe, log
from router.receiver.spool.spool import DISK_ERRORS
from router.streams.client.connection import RedisError
from router.streams.store.append import is_outage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from router.receiver.spool.journal import Journal, Stored
    from router.receiver.spool.spool import Spool
    from router.streams.store.append import Appender, InboundFields

#: So many events are fed at once; newcomers are held back while the last so many are.
BATCH: Final = 512
#: Seconds between two looks for files of dead processes.
TENDING: Final = 5.0
#: Seconds before Redis is tried again: the first time, and at most.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
#: Seconds that the end of the process waits for a last try.
LAST_TRY: Final = 1.0
#: Seconds that a claim lives at least, however long ago the webhook came: it must outlast our own repeats.
SHORTEST_CLAIM: Final = 600


class Drainer:
    """Runs beside one receiver; `ping` raises RedisError or OSError while Redis does not answer, and does not hang.

    `keys` tell an event's partition; `clock` gives microseconds since 1970.
    """

    def __init__(
        self,
        spool: Spool,
        appender: Appender,
        ping: Callable[[], Awaitable[object]],
        *,
        keys: Keys | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._spool = spool
        self._appender = appender
        self._ping = ping
        self._keys = keys or Keys()
        self._clock = clock
        self._fed, self._refused = 0, 0
        self._away: dict[int, NotDurableError] = {}  # partitions that took nothing in the last drain, and why
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the spool, take over what is there, and go on in the background; `close` must follow."""
        await self._spool.tend()
        self._task = asyncio.create_task(self._run(), name="drainer")

    async def close(self) -> None:
        """Try once more, for a moment, to feed what is left; what stays is on the disk for the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        try:
            async with asyncio.timeout(LAST_TRY):
                await self.drain()
        except (NotDurableError, RedisError, *DISK_ERRORS):  # a timeout is an OSError too
            pass
        await self._spool.close()

    async def drain(self) -> None:
        """Feed back all that there is; raises NotDurableError, RedisError or DISK_ERRORS where that cannot be done."""
        if not self._spool.is_on and not self._spool.entries:
            return
        await self._ping()  # before anybody is held
        was_away, self._refused, self._away = bool(self._away), 0, {}
        for journal in self._spool.adopted:
            await self._feed(journal)
        if was_away:  # perhaps it still is: nobody is held to find that out
            await self._feed(None, most=self._spool.own_entries)
        await self._feed(None, leave=BATCH)
        if self._away:
            raise next(iter(self._away.values()))
        try:
            await self._spool.hold()
            await self._feed(None)
        finally:
            is_off = self._spool.release()
        if is_off:
            log("spool.drained", events=self._fed)
            self._fed = 0
        elif self._away:
            raise next(iter(self._away.values()))
        elif self._refused:
            raise NotDurableError("Redis refuses events of the spool")

    async def _run(self) -> None:
        """Tend and drain for ever, with growing pauses while Redis does not take what it is given."""
        failures = 0
        while True:
            fed, begun = self._fed, time.monotonic()
            try:
                await self._spool.tend()
                await self.drain()
                failures = 0
                await self._spool.begun(TENDING)
                continue
            except (NotDurableError, RedisError, *DISK_ERRORS):
                failures += 1  # that it has begun is told already, and damage as it is found
            except Exception as error:  # noqa: BLE001 - the root of a task that must not end
                failures += 1
                log("spool.failed", level="error", problem=describe(error))
            pause = pause_after(failures)
            if self._fed > fed:  # some partitions take what they are given: theirs shall not wait for the others
                failures = 1
                pause = max(pause_after(failures), time.monotonic() - begun)
            await asyncio.sleep(pause)

    async def _feed(self, journal: Journal | None, *, leave: int = 0, most: int | None = None) -> None:
        """Feed a file from its beginning, `most` events or so; of our own, which may grow, the last `leave` stay."""
        last = seen = 0
        while (journal is not None or self._spool.own_entries > leave) and (most is None or seen < most):
            rows = await self._spool.read(journal, last, BATCH)
            if not rows:
                return
            last, seen = rows[-1].number, seen + len(rows)
            await self._send(journal, rows)

    async def _send(self, journal: Journal | None, rows: Sequence[Stored]) -> None:
        """Append events and forget those that are in Redis; raises NotDurableError if no partition takes any now.

        One that Redis refuses for what it is stays in the spool and is told of, and those behind it go on; behind one
        whose partition is away those of other partitions do.
        """
        now = self._clock()
        rows = [row for row in rows if self._partition_of(row) not in self._away]
        calls = [self._appender.append(aged(row.fields, now)) for row in rows]
        results = await asyncio.gather(*calls, return_exceptions=True)
        taken = [row.number for row, result in zip(rows, results, strict=True) if isinstance(result, bool)]
        await self._spool.remove(journal, taken)
        self._fed += len(taken)
        metrics.count("router_spooled", "drained", by=results.count(True))
        metrics.count("router_spooled", "known", by=results.count(False))
        refused: list[NotDurableError] = []
        for row, result in zip(rows, results, strict=True):
            if isinstance(result, NotDurableError) and is_outage(result):
                self._away[self._partition_of(row)] = result
            elif isinstance(result, NotDurableError):
                refused.append(result)
            elif isinstance(result, BaseException):
                raise result
        if len(self._away) >= self._keys.partitions:
            raise next(iter(self._away.values()))
        if refused:
            self._refused += len(refused)
            problem = f"Redis refuses what is spooled: {refused[0]}"
            log("spool.failed", level="error", problem=problem, events=len(refused))

    def _partition_of(self, row: Stored) -> int:
        return self._keys.partition_of(row.fields.subject)


def aged(fields: InboundFields, now: int) -> InboundFields:
    """Return an event with what is left at `now` (µs) of the lifetime of its claims."""
    age = max(0, now - fields.received_at) // 1_000_000
    return replace(fields, ttl=max(min(fields.ttl, SHORTEST_CLAIM), fields.ttl - age))


def pause_after(failures: int) -> float:
    """Return seconds to wait after so many failures in a row: twice as long each time, and never for all alike."""
    jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
    return backoff(FIRST_PAUSE, failures - 1, ceiling=LONGEST_PAUSE, jitter=jitter)
