"""Drains the spool into Redis, oldest event first, and adopts the files that dead processes left on this disk.

An event is deleted from the spool after Redis has confirmed it, so after a crash in between it is appended again; so is
an event that had reached Redis although its answer was lost. Both are duplicates then, by the claim of the idempotency
key. A claim lives as long after the receipt of the webhook as it would have without the spool.

Draining needs Redis only: the disk may be full. A file that cannot be read is left out, and tried again later.

In a Cluster one node may be down while the others work: the events of its partitions stay in the spool, and those of
other partitions are drained past them, in order within each partition.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from router import metrics
from router.core.backoff import backoff
from router.core.errors import NotDurableError
from router.core.keys import Keys
from router.core.stories import StageName, event_id, resource_of
from router.core.timestamps import to_text
from router.core.values import replace
from router.logs import describe, describe_fully, log
from router.receiver.spool.spool import DISK_ERRORS
from router.streams.client.connection import RedisError
from router.streams.store.append import is_outage
from router.streams.store.stories import StoryAbout
from router.tasks import end, finish

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from router.receiver.spool.journal import Journal, Stored
    from router.receiver.spool.spool import Spool
    from router.streams.store.append import Appender, InboundFields
    from router.streams.store.stories import StoryWriter

#: Events that are appended at once; new events are paused only while the last so many are drained.
BATCH: Final = 512
#: Seconds between two searches for files of dead processes.
MAINTENANCE_INTERVAL: Final = 5.0
#: Seconds before Redis is tried again: at first, and at most.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
#: The least while webhooks that the spool cannot take ask for an attempt.
SHORTEST_PAUSE: Final = 0.01
#: What says that Redis takes no events now.
AWAY: Final = (NotDurableError, RedisError, OSError)
#: Seconds for a last attempt when the process ends.
LAST_ATTEMPT: Final = 0.2
#: Seconds that a claim lives at least, however old the webhook is: it must outlast this process' own retries.
SHORTEST_CLAIM: Final = 600


class Drainer:
    """Runs beside one receiver; `ping` raises one of AWAY while Redis takes no events, and does not hang.

    `keys` tell an event's partition; `clock` gives microseconds since 1970. `stories` tell which events were spooled.
    """

    def __init__(
        self,
        spool: Spool,
        appender: Appender,
        ping: Callable[[], Awaitable[object]],
        *,
        keys: Keys | None = None,
        stories: StoryWriter | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._stories = stories
        self._spool = spool
        self._appender = appender
        self._ping = ping
        self._keys = keys or Keys()
        self._clock = clock
        self._drained, self._refused = 0, 0
        self._unread: BaseException | None = None  # why a file could not be read in the last drain
        self._unavailable: dict[int, NotDurableError] = {}  # partitions that took nothing in the last drain, and why
        self.tasks: list[asyncio.Task[None]] = []

    def use(self, keys: Keys) -> None:
        """Tell partitions by these keys from now on."""
        self._keys, self._unavailable = keys, {}

    async def start(self) -> None:
        """Open the spool, adopt files, and drain in the background from then on; `close` must follow."""
        await self._spool.maintain()
        self.tasks = [asyncio.create_task(self._run(), name="drainer")]

    async def close(self) -> None:
        """Make one last short attempt to drain; events that remain stay on disk for the next start."""
        await end(*self.tasks)
        with suppress(*AWAY, *DISK_ERRORS):
            await finish(self.drain(), LAST_ATTEMPT)
        await self._spool.close()

    async def drain(self) -> None:
        """Drain the whole spool; raises one of AWAY or DISK_ERRORS if that is not possible."""
        was_active = self._spool.is_active
        if not was_active and not self._spool.entries:
            return
        await self._find_redis()  # before new events are paused
        was_unavailable, self._refused, self._unavailable, self._unread = bool(self._unavailable), 0, {}, None
        for journal in self._spool.adopted:
            await self._drain_journal(journal)
        if was_unavailable:  # find out whether it still is before new events are paused
            await self._drain_journal(None, most=self._spool.own_entries)
        await self._drain_journal(None, leave=BATCH)
        if self._unavailable:
            raise next(iter(self._unavailable.values()))
        try:
            await self._spool.pause()
            await self._drain_journal(None)
        finally:
            is_empty = self._spool.resume()
        if is_empty and (was_active or self._drained):
            log("spool.drained", events=self._drained)
            self._drained = 0
        self._raise_what_is_left(is_empty=is_empty)

    def _raise_what_is_left(self, *, is_empty: bool) -> None:
        """Raise the reason why events are left in files that cannot be read, or in the spool."""
        if self._unread is not None:
            raise self._unread
        if self._unavailable and not is_empty:
            raise next(iter(self._unavailable.values()))
        if self._refused and not is_empty:
            raise NotDurableError("Redis refuses events of the spool")

    async def _find_redis(self) -> None:
        """Raise one of AWAY if Redis takes no events; the spool answers webhooks that it cannot take by that."""
        try:
            await self._ping()
        except AWAY as error:
            self._spool.turns.note_redis(describe_fully(error))
            raise
        self._spool.turns.note_redis(None)

    async def _run(self) -> None:
        """Maintain and drain forever, with growing pauses while Redis does not accept events."""
        failures = 0
        while True:
            drained, begun = self._drained, time.monotonic()
            try:
                await self._spool.maintain()
                await self.drain()
                failures = 0
                await self._spool.wait_until_active(MAINTENANCE_INTERVAL)
                continue
            except (*AWAY, *DISK_ERRORS):
                failures += 1  # the outage is logged already (spool.begun), and so is damage
            except Exception as error:  # noqa: BLE001 - the root of a task that must not end
                failures += 1
                log("spool.failed", level="error", problem=describe(error))
            pause = pause_after(failures)
            if self._drained > drained:  # some partitions accept events, which must not wait for the others
                failures = 1
                pause = max(pause_after(failures), time.monotonic() - begun)
            await self._rest(pause)

    async def _rest(self, seconds: float) -> None:
        """Wait before the next drain. Redis is tried meanwhile whenever a webhook has no other place."""
        end = time.monotonic() + seconds
        while await self._spool.turns.wait_until_wanted(end - time.monotonic()):
            await asyncio.sleep(SHORTEST_PAUSE)
            with suppress(*AWAY):
                await self._find_redis()
                return

    async def _drain_journal(self, journal: Journal | None, *, leave: int = 0, most: int | None = None) -> None:
        """Append a journal's events from its beginning, up to about `most` of them, as far as it can be read.

        The own journal (None) may grow meanwhile; its last `leave` events stay.
        """
        last = seen = 0
        while (journal is not None or self._spool.own_entries > leave) and (most is None or seen < most):
            try:
                rows = await self._spool.read(journal, last, BATCH)
            except DISK_ERRORS as error:
                self._unread = error
                return
            if not rows:
                return
            last, seen = rows[-1].number, seen + len(rows)
            await self._append(journal, rows)

    async def _append(self, journal: Journal | None, rows: Sequence[Stored]) -> None:
        """Append events and delete those that are in Redis; raises NotDurableError if no partition accepts events.

        An event that Redis refuses for its content stays in the spool and is logged, and later events continue. Behind
        an event of an unavailable partition, those of other partitions continue.
        """
        now = self._clock()
        rows = [row for row in rows if self._partition_of(row) not in self._unavailable]
        calls = [self._appender.append(with_remaining_ttl(row.fields, now)) for row in rows]
        results = await asyncio.gather(*calls, return_exceptions=True)
        durable = [row for row, result in zip(rows, results, strict=True) if isinstance(result, bool)]
        await self._spool.remove(journal, durable)
        await self._tell([row.fields for row, result in zip(rows, results, strict=True) if result is True], now)
        self._drained += len(durable)
        metrics.count("router_spooled", "drained", by=results.count(True))
        metrics.count("router_spooled", "known", by=results.count(False))
        refused: list[NotDurableError] = []
        for row, result in zip(rows, results, strict=True):
            if isinstance(result, NotDurableError) and is_outage(result):
                self._unavailable[self._partition_of(row)] = result
            elif isinstance(result, NotDurableError):
                refused.append(result)
            elif isinstance(result, BaseException):
                raise result
        if len(self._unavailable) >= self._keys.partitions:
            problem = next(iter(self._unavailable.values()))
            self._spool.turns.note_redis(str(problem))
            raise problem
        if refused:
            self._refused += len(refused)
            why = f"Redis refuses events of the spool: {refused[0]}"
            log("spool.failed", level="error", problem=why, events=len(refused))

    async def _tell(self, drained: Sequence[InboundFields], now: int) -> None:
        if self._stories is None:
            return
        for fields in drained:
            key, addresses = fields.key, tuple(fields.subject.split("|")[1:2])
            about = StoryAbout(event_id(key), fields.account_id, resource_of(key), addresses=addresses)
            detail = f"Redis was away: on disk, and in Redis since {to_text(now)}"
            partition = self._keys.partition_of(fields.subject)
            self._stories.add_stage(partition, about, StageName.SPOOLED, detail, at=fields.received_at)
        await self._stories.close()

    def _partition_of(self, row: Stored) -> int:
        return self._keys.partition_of(row.fields.subject)


def with_remaining_ttl(fields: InboundFields, now: int) -> InboundFields:
    """Return an event whose claims live only as long as is left of their lifetime at `now` (µs)."""
    age = max(0, now - fields.received_at) // 1_000_000
    return replace(fields, ttl=max(min(fields.ttl, SHORTEST_CLAIM), fields.ttl - age))


def pause_after(failures: int) -> float:
    """Return the seconds to wait after `failures` failures in a row: twice as long each time, with random jitter."""
    jitter = random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
    return backoff(FIRST_PAUSE, failures - 1, ceiling=LONGEST_PAUSE, jitter=jitter)
