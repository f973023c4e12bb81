"""The spool: a journal on the local disk that takes events while Redis cannot, so that a 200 stays a true answer.

While it is active, every event is written here first, and the drainer (router.receiver.spool.drainer) appends them to
Redis in the order in which they arrived. It is deactivated only when it is empty: the drainer pauses new events for the
moment that the last few need. So no event overtakes an older one of its subject, and even a flood of webhooks cannot
keep the spool active forever.

One thread does all disk work. All events that wait go into one transaction, and their callers are answered after it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, cast

from router import metrics
from router.core.errors import NotDurableError
from router.logs import describe_fully, log
from router.receiver.spool.journal import UnreadableJournalError, is_damage, size_of
from router.receiver.spool.journals import Journals, JournalState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from router.core.events import SharedBody
    from router.receiver.spool.journal import Journal, Stored
    from router.streams.store.append import InboundFields

#: Errors of the disk or of a file on it.
DISK_ERRORS: Final = (sqlite3.Error, OSError, UnreadableJournalError)
_FULL: Final = "the spool is full: ROUTER_SPOOL_MAX_BYTES"


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
        self._problem: str | None = "not opened yet"
        self._logged: set[tuple[str, str]] = set()  # the kinds of failure that the log has of this outage
        self._is_full, self._is_closed = False, False
        self._active = asyncio.Event()
        self._paused: asyncio.Future[None] | None = None

    @property
    def is_active(self) -> bool:
        """True while events go to the spool instead of to Redis."""
        return self._active.is_set()

    @property
    def is_usable(self) -> bool:
        """True if an event that arrived now could be written."""
        return self._problem is None and not self._is_full

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
        status = "failed" if self._problem else "full" if self._is_full else "ok"
        return {"status": status, "on": self.is_active, "entries": self.entries, "bytes": self._state.size}

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
            self._refuse(is_full=self.own_entries > 0)
        waiting = _Waiting(fields, size, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._in_flight, self._in_flight_bytes = self._in_flight + 1, self._in_flight_bytes + size
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="spool")
        return await waiting.done

    def activate(self, reason: str) -> None:
        """Send events to the spool from now on, unless nothing could be written."""
        if not self.is_active and self.is_usable:
            self._active.set()
            log("spool.begun", level="warning", reason=reason)

    async def wait_until_active(self, limit: float) -> None:
        """Return once the spool is active, or after `limit` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._active.wait()

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
        """Let paused events continue: to Redis if the spool is empty and now inactive (True), else to the spool."""
        if not self.entries:
            self._active.clear()
        if self._paused is not None:
            self._paused.set_result(None)
            self._paused = None
        return not self.is_active

    async def maintain(self) -> None:
        """Adopt the files of dead processes, and find out whether writing is possible again after a failure."""
        if self._problem is not None:
            try:
                await self._run(self._journals.probe)
                self._recover()
            except DISK_ERRORS as error:
                self._fail(error)
        adoption = await self._run(self._journals.adopt)
        for unreadable in adoption.unreadable:
            log("spool.failed", level="error", problem=f"the file of a dead process cannot be read: {unreadable}")
        if adoption.entries:
            log("spool.adopted", level="warning", files=adoption.files, entries=adoption.entries)
            self.activate("a dead process has left events")

    async def read(self, journal: Journal | None, after: int, limit: int) -> list[Stored]:
        """Return the oldest events with a number above `after`, of an adopted journal or (None) of the own one.

        Raises DISK_ERRORS.
        """
        return cast("list[Stored]", await self._on_file(journal, self._journals.read, after, limit))

    async def remove(self, journal: Journal | None, numbers: list[int]) -> None:
        """Delete events that are in Redis; raises DISK_ERRORS."""
        await self._on_file(journal, self._journals.remove, numbers)
        self._is_full = False

    async def close(self) -> None:
        """Commit events that wait, then close; events that are not in Redis stay on disk for the next start.

        Closing again does nothing.
        """
        await self._settle()
        if self._is_closed:
            return
        self._is_closed = True
        try:
            await self._run(self._journals.close)
        except DISK_ERRORS as error:
            self._fail(error)
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
            return [NotDurableError(self._fail(error))] * len(batch)
        self._recover()
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

    def _refuse(self, *, is_full: bool) -> NoReturn:
        """Raise NotDurableError for lack of space; unless `is_full`, this event alone is too large."""
        if is_full and not self._is_full:
            log("spool.failed", level="error", problem=_FULL)
        self._is_full = self._is_full or is_full
        metrics.count("router_spooled", "failed")
        raise NotDurableError(_FULL)

    def _fail(self, error: BaseException) -> str:
        """Log a failure of the disk, once for as long as the disk fails; returns its description."""
        problem = f"the spool failed: {describe_fully(error)}"  # about a file and the disk, never an event
        # without the name of the file, which is another one with each attempt to make it
        kind = type(error).__name__, (isinstance(error, OSError) and error.strerror) or str(error)
        if kind not in self._logged:
            log("spool.failed", level="error", problem=problem)
        self._logged.add(kind)
        self._problem = problem
        return problem

    def _recover(self) -> None:
        """Note that the disk can be written to, so that the next failure is logged."""
        self._problem = None
        self._logged.clear()
