"""The spool: a journal on the local disk that takes events while Redis cannot, so that a 200 stays a true answer.

While it is active, every event is written here first, and the drainer (router.receiver.spool.drainer) appends them to
Redis in the order in which they arrived. It is deactivated only when it is empty: the drainer pauses new events for the
moment that the last few need. So no event overtakes an older one of its subject, and even a flood of webhooks cannot
keep the spool active forever.

A disk that cannot be written closes no door that Redis could open: an event that the spool cannot take goes to Redis
directly as soon as Redis answers, after the older events of its subject (`wait_for_turn`). Draining needs no space. A
file that cannot be read holds up nothing; that is the one case in which an event may overtake older ones.

One thread does all disk work. All events that wait go into one transaction, and their callers are answered after it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from router import metrics
from router.core.errors import NotDurableError
from router.logs import describe_fully, log
from router.receiver.spool.health import Health
from router.receiver.spool.journal import UnreadableJournalError, is_damage, size_of
from router.receiver.spool.journals import Journals, JournalState
from router.receiver.spool.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from router.core.events import SharedBody
    from router.receiver.spool.journal import Journal, Stored
    from router.streams.store.append import InboundFields

#: Errors of the disk or of a file on it.
DISK_ERRORS: Final = (sqlite3.Error, OSError, UnreadableJournalError)
#: Seconds that the disk may take to show that it can be written to.
CHECK_TIMEOUT: Final = 1.0
#: Bytes of a usual webhook: a spool that has room for it is not full, whatever larger one it has refused.
USUAL_BYTES: Final = 2048


class _Waiting(NamedTuple):
    fields: InboundFields
    size: int
    done: asyncio.Future[bool]


class Spool:
    """The spool of one receiver process; `max_bytes` bounds the file that it writes."""

    def __init__(self, folder: Path, namespace: str, max_bytes: int) -> None:
        self._journals = Journals(folder, namespace)
        self._max_bytes = max_bytes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._state = JournalState()
        self._waiting: list[_Waiting] = []
        self._in_flight, self._in_flight_bytes = 0, 0  # given to `put` and not answered yet
        self._last_shared: SharedBody | None = None
        self._writer: asyncio.Task[None] | None = None
        self._is_closed = False
        self.health = Health()
        self._active = asyncio.Event()
        self._paused: asyncio.Future[None] | None = None
        self.turns = Turns()
        self._check: asyncio.Task[None] | None = None

    @property
    def is_active(self) -> bool:
        """True while events go to the spool instead of to Redis."""
        return self._active.is_set()

    @property
    def is_usable(self) -> bool:
        """True if the last event or attempt could be written."""
        return self.health.is_usable

    @property
    def entries(self) -> int:
        """Number of events that wait for Redis, including those of adopted files."""
        return self.own_entries + self._state.adopted

    @property
    def own_entries(self) -> int:
        """Number of events in the file of this process, or about to be written to it."""
        return self._state.entries + self._in_flight

    @property
    def adopted(self) -> list[Journal]:
        """The adopted files, oldest first."""
        return self._journals.adopted

    def describe(self) -> dict[str, Any]:
        """Return the state as `/readyz` shows it."""
        return {"status": self.health.status, "on": self.is_active, "entries": self.entries, "bytes": self._state.size}

    def update_gauges(self) -> None:
        """Set the gauges of router.metrics."""
        metrics.gauge("router_spool_entries", "own", value=self.own_entries)
        metrics.gauge("router_spool_entries", "adopted", value=self._state.adopted)
        metrics.gauge("router_spool_bytes", "own", value=self._state.size)

    async def put(self, fields: InboundFields) -> bool:
        """Return True once the event is on disk, False if its key already was; raises NotDurableError."""
        fields.to_values()  # text that cannot be encoded fails now, for its own caller, and not when it is drained
        size, shared = size_of(fields), fields.shared
        if shared is not None and shared is not self._last_shared:  # the events of one webhook come one after another
            size, self._last_shared = size + len(shared.data), shared
        if self._state.size + self._in_flight_bytes + size > self._max_bytes:
            left = self._max_bytes - self._state.size - self._in_flight_bytes
            self.health.refuse(is_full=self.own_entries > 0 and left < USUAL_BYTES)
        self.health.make_room()
        waiting = _Waiting(fields, size, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._in_flight, self._in_flight_bytes = self._in_flight + 1, self._in_flight_bytes + size
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="spool")
        return await waiting.done

    def activate(self, reason: str, *, is_outage: bool = True) -> None:
        """Send events to the spool from now on; `is_outage` if Redis takes none, as far as is known."""
        if not self.is_active:
            self._active.set()
            if is_outage:
                self.turns.note_redis(reason)
            log("spool.begun", level="warning", reason=reason)

    async def wait_until_active(self, limit: float) -> None:
        """Return once the spool is active, or after `limit` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._active.wait()

    async def wait_for_turn(self, fields: InboundFields, limit: float) -> None:
        """Return once an event that could not be written may go to Redis directly.

        That is as soon as Redis answers, and behind the older events of its subject. Raises NotDurableError if Redis
        does not answer, after LOOK_TIMEOUT at most, and after `limit` seconds if there are still older events.
        """
        why = self.health.why
        try:
            async with asyncio.timeout(limit):
                while self.is_active:
                    if problem := await self.turns.look_for_redis():
                        raise NotDurableError(f"{why}; Redis: {problem}")
                    if not self._has_older(fields):
                        return
                    await self.turns.wait_for_move()
        except TimeoutError:
            raise NotDurableError(f"{why}; older events of its subject are on their way to Redis") from None

    def _has_older(self, fields: InboundFields) -> bool:
        """Tell whether events of the same subject are, or may be, in files that can be read."""
        is_adopting = self._state.adopted > self._state.unreadable
        return is_adopting or self.turns.has_older(fields)

    async def can_bypass(self) -> bool:
        """Tell whether an event may go to Redis directly; waits while new events are paused."""
        while self._paused is not None:
            await asyncio.shield(self._paused)
        return not self.is_active

    async def pause(self) -> None:
        """Make new events wait, and return once all earlier ones are on disk; `resume` must follow."""
        self._paused = self._paused or asyncio.get_running_loop().create_future()
        await self._settle()

    def resume(self) -> bool:
        """Let paused events continue: to Redis if nothing is left to drain and the spool now inactive (True).

        Else they continue to the spool. What cannot be read is not waited for.
        """
        if self.entries == self._state.unreadable:
            self._active.clear()
            self.turns.clear()
            if self.is_usable:
                self.health.forget_logged()
        if self._paused is not None:
            self._paused.set_result(None)
            self._paused = None
        return not self.is_active

    async def maintain(self) -> None:
        """Adopt the files of dead processes, and find out whether writing is possible again after a failure."""
        if self.health.problem is not None:
            await self._probe()
        adoption = await self._run(self._journals.adopt)
        for unreadable in adoption.unreadable:
            log("spool.failed", level="error", problem=f"the file of a dead process cannot be read: {unreadable}")
        if adoption.entries:
            log("spool.adopted", level="warning", files=adoption.files, entries=adoption.entries)
            self.activate("a dead process has left events", is_outage=False)

    async def read(self, journal: Journal | None, after: int, limit: int) -> list[Stored]:
        """Return the oldest events with a number above `after`, of an adopted journal or (None) of the own one.

        Raises DISK_ERRORS; the file is then left out until it can be read again.
        """
        try:
            return cast("list[Stored]", await self._on_file(journal, self._journals.read, after, limit))
        except DISK_ERRORS as error:
            await self._run(self._journals.shelve, journal)
            if journal is None:
                self.turns.clear()
            self.turns.wake()
            if not is_damage(error):
                self.health.report(f"a file cannot be read now: {describe_fully(error)}", error)
            raise

    async def remove(self, journal: Journal | None, rows: Sequence[Stored]) -> None:
        """Delete events that are in Redis and were read last; raises DISK_ERRORS.

        A disk that does not let them be deleted is a failure of the spool, and the events count as deleted even so.
        """
        problem = await self._on_file(journal, self._journals.remove, [row.number for row in rows])
        if journal is None:
            for row in rows:
                self.turns.remove(row.fields)
        self.health.make_room()
        if problem is not None:
            self.health.fail(problem)
        self.turns.wake()

    async def can_write(self) -> bool:
        """Find out whether an event that arrived now could be written; callers share one attempt."""
        if self._check is None:
            self._check = asyncio.create_task(self._check_disk(), name="spool-check")
        await asyncio.shield(self._check)
        return self.is_usable

    async def _check_disk(self) -> None:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                await self._probe()
        except TimeoutError as error:
            self.health.fail(error)
        finally:
            self._check = None

    async def _probe(self) -> None:
        """Find out whether the disk can be written to; after a failure in the file itself too."""
        work = self._journals.probe if self.health.problem is not None else self._journals.check
        try:
            await self._run(work)
        except DISK_ERRORS as error:
            self.health.fail(error)
            return
        self.health.recover()
        if not self.is_active:
            self.health.forget_logged()

    async def close(self) -> None:
        """Commit events that wait, then close; events that are not in Redis stay on disk for the next start.

        Closing again does nothing.
        """
        await self._settle()
        if self._is_closed:
            return
        self._is_closed = True
        if self._check is not None:
            await asyncio.wait([self._check])
        try:
            await self._run(self._journals.close)
        except DISK_ERRORS as error:
            self.health.fail(error)
        self._thread.shutdown()

    async def _settle(self) -> None:
        """Wait until all events given to `put` have been answered."""
        while self._writer is not None:
            await asyncio.wait([self._writer])

    async def _write(self) -> None:
        """Write all waiting events, transaction by transaction, and answer every caller whatever happens."""
        batch: list[_Waiting] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                self._answer(batch, await self._write_batch(batch))
                batch = []
        finally:
            left, self._waiting, self._writer = [*batch, *self._waiting], [], None
            self._answer(left, [NotDurableError("writing to the spool was interrupted")] * len(left))

    async def _write_batch(self, batch: list[_Waiting]) -> Sequence[bool | Exception]:
        try:
            added: list[bool] = await self._run(self._journals.add, [one.fields for one in batch])
        except DISK_ERRORS as error:
            metrics.count("router_spooled", "failed", by=len(batch))
            return [NotDurableError(self.health.fail(error))] * len(batch)
        self.health.recover()
        for one, is_new in zip(batch, added, strict=True):
            if is_new:
                self.turns.add(one.fields)
        metrics.count("router_spooled", "kept", by=sum(added))
        metrics.count("router_spooled", "repeat", by=len(added) - sum(added))
        return added

    def _answer(self, batch: list[_Waiting], results: Sequence[bool | Exception]) -> None:
        self._in_flight -= len(batch)
        self._in_flight_bytes -= sum(one.size for one in batch)
        for one, result in zip(batch, results, strict=True):
            if one.done.done():  # the caller has disconnected
                continue
            if isinstance(result, Exception):
                one.done.set_exception(result)
            else:
                one.done.set_result(result)

    async def _on_file(self, journal: Journal | None, work: Callable[..., Any], *args: Any) -> Any:
        """Do work on a file; a damaged file is set aside and logged before the error is raised."""
        try:
            return await self._run(work, journal, *args)
        except DISK_ERRORS as error:
            if is_damage(error):
                problem = await self._run(self._journals.set_aside, journal)
                log("spool.failed", level="error", problem=f"a file cannot be read and was set aside: {problem}")
            raise

    async def _run(self, work: Callable[..., Any], *args: Any) -> Any:
        """Do disk work in the thread, and update the counts afterwards."""

        def measured() -> tuple[Any, JournalState]:
            return work(*args), self._journals.state()

        loop = asyncio.get_running_loop()
        result, self._state = await loop.run_in_executor(self._thread, measured)
        return result
