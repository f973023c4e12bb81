"""The spool: a journal on the local disk that takes events while Redis cannot, so that a 200 stays a true answer.

While it is on, every event goes here first, and the drainer (router.receiver.spool.drainer) feeds them to Redis in the
order they came. It goes off only when nothing is left: then the drainer `hold`s newcomers for the moment that the last
few need, so that none overtakes an older one of its subject, and even a flood of webhooks cannot keep it on for ever.

Disk work is done by one thread. All that waits goes into one transaction, and its callers are answered after it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, cast

from router import metrics
from router.core.errors import NotDurableError
from router.logs import log
from router.receiver.spool.journal import UnreadableJournalError, is_damage, size_of
from router.receiver.spool.journals import Journals, JournalState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from router.receiver.spool.journal import Journal, Stored
    from router.streams.store.append import InboundFields

#: What the disk, or a file on it, may raise.
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
        self._in_hand, self._in_hand_bytes = 0, 0  # given and not answered yet
        self._writer: asyncio.Task[None] | None = None
        self._problem: str | None = "not opened yet"
        self._is_full, self._is_closed = False, False
        self._on = asyncio.Event()
        self._held: asyncio.Future[None] | None = None

    @property
    def is_on(self) -> bool:
        """True while events go to the spool instead of to Redis."""
        return self._on.is_set()

    @property
    def is_usable(self) -> bool:
        """True if an event that came now could be written."""
        return self._problem is None and not self._is_full

    @property
    def entries(self) -> int:
        """How many events wait for Redis, those of files that were taken over included."""
        return self.own_entries + self._state.adopted

    @property
    def own_entries(self) -> int:
        """How many of them are in the file of this process or on the way into it."""
        return self._state.entries + self._in_hand

    @property
    def adopted(self) -> list[Journal]:
        """The files that were taken over, oldest first."""
        return self._journals.adopted

    def describe(self) -> dict[str, Any]:
        """Return what an operator is told."""
        status = "failed" if self._problem else "full" if self._is_full else "ok"
        return {"status": status, "on": self.is_on, "entries": self.entries, "bytes": self._state.size}

    def update_gauges(self) -> None:
        """Set the gauges of router.metrics."""
        metrics.gauge("router_spool_entries", "own", value=self.own_entries)
        metrics.gauge("router_spool_entries", "adopted", value=self._state.adopted)
        metrics.gauge("router_spool_bytes", "own", value=self._state.size)

    async def put(self, fields: InboundFields) -> bool:
        """Return True once the event is on the disk, False if its key was there; raises NotDurableError."""
        fields.to_values()  # text that cannot be encoded is its own caller's error, now and not when it is fed back
        size = size_of(fields)
        if self._state.size + self._in_hand_bytes + size > self._max_bytes:
            self._refuse(is_full=self.own_entries > 0)
        waiting = _Waiting(fields, size, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._in_hand, self._in_hand_bytes = self._in_hand + 1, self._in_hand_bytes + size
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="spool")
        return await waiting.done

    def begin(self, reason: str) -> None:
        """Go on, unless it is on already or nothing could be written."""
        if not self.is_on and self.is_usable:
            self._on.set()
            log("spool.begun", level="warning", reason=reason)

    async def begun(self, limit: float) -> None:
        """Return once it is on, or after `limit` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._on.wait()

    async def is_over(self) -> bool:
        """Tell whether an event may go to Redis directly; waits where that is being settled just now."""
        while self._held is not None:
            await asyncio.shield(self._held)
        return not self.is_on

    async def hold(self) -> None:
        """Let newcomers wait, and return once all that came before is on the disk; `release` must follow."""
        self._held = self._held or asyncio.get_running_loop().create_future()
        await self._settle()

    def release(self) -> bool:
        """Let those who were held go on, into the spool unless nothing is left in it: then it is off (True)."""
        if not self.entries:
            self._on.clear()
        if self._held is not None:
            self._held.set_result(None)
            self._held = None
        return not self.is_on

    async def tend(self) -> None:
        """Take over what dead processes left, and see whether writing is possible where it was not."""
        if self._problem is not None:
            try:
                await self._run(self._journals.probe)
                self._problem = None
            except DISK_ERRORS as error:
                self._fail(error)
        adoption = await self._run(self._journals.adopt)
        for unreadable in adoption.unreadable:
            log("spool.failed", level="error", problem=f"a file of a dead process cannot be read: {unreadable}")
        if adoption.entries:
            log("spool.adopted", level="warning", files=adoption.files, entries=adoption.entries)
            self.begin("a process that died has left events")

    async def read(self, journal: Journal | None, after: int, limit: int) -> list[Stored]:
        """Return events of a file (None: of this process) above a number, oldest first; raises DISK_ERRORS."""
        return cast("list[Stored]", await self._on_file(journal, self._journals.read, after, limit))

    async def remove(self, journal: Journal | None, numbers: list[int]) -> None:
        """Forget events that are in Redis; raises DISK_ERRORS."""
        await self._on_file(journal, self._journals.remove, numbers)
        self._is_full = False

    async def close(self) -> None:
        """Commit what waits and close; what Redis has not got stays on the disk for the next start.

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
        """Wait until all that was given has been answered."""
        while self._writer is not None:
            await asyncio.wait([self._writer])

    async def _write(self) -> None:
        """Write all that waits, transaction by transaction, and answer every caller whatever happens."""
        batch: list[_Waiting] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                self._answer(batch, await self._write_batch(batch))
                batch = []
        finally:
            left, self._waiting, self._writer = [*batch, *self._waiting], [], None
            self._answer(left, [NotDurableError("the spool was cut off")] * len(left))

    async def _write_batch(self, batch: list[_Waiting]) -> Sequence[bool | Exception]:
        try:
            added: list[bool] = await self._run(self._journals.add, [one.fields for one in batch])
        except DISK_ERRORS as error:
            metrics.count("router_spooled", "failed", by=len(batch))
            return [NotDurableError(self._fail(error))] * len(batch)
        self._problem = None
        metrics.count("router_spooled", "kept", by=sum(added))
        metrics.count("router_spooled", "repeat", by=len(added) - sum(added))
        return added

    def _answer(self, batch: list[_Waiting], results: Sequence[bool | Exception]) -> None:
        self._in_hand -= len(batch)
        self._in_hand_bytes -= sum(one.size for one in batch)
        for one, result in zip(batch, results, strict=True):
            if one.done.done():  # the caller has gone away
                continue
            if isinstance(result, Exception):
                one.done.set_exception(result)
            else:
                one.done.set_result(result)

    async def _on_file(self, journal: Journal | None, work: Callable[..., Any], *args: Any) -> Any:
        """Do work on a file; one in which damage is found is set aside, loudly, before the error is raised."""
        try:
            return await self._run(work, journal, *args)
        except DISK_ERRORS as error:
            if is_damage(error):
                told = await self._run(self._journals.set_aside, journal)
                log("spool.failed", level="error", problem=f"a file cannot be read and was set aside: {told}")
            raise

    async def _run(self, work: Callable[..., Any], *args: Any) -> Any:
        """Do disk work in the thread, and see afterwards how much there is."""

        def measured() -> tuple[Any, JournalState]:
            return work(*args), self._journals.state()

        loop = asyncio.get_running_loop()
        result, self._state = await loop.run_in_executor(self._thread, measured)
        return result

    def _refuse(self, *, is_full: bool) -> NoReturn:
        """Refuse an event for want of room; where there is nothing to wait for, it alone is too large."""
        if is_full and not self._is_full:
            log("spool.failed", level="error", problem=_FULL)
        self._is_full = self._is_full or is_full
        metrics.count("router_spooled", "failed")
        raise NotDurableError(_FULL)

    def _fail(self, error: BaseException) -> str:
        """Tell of a disk that fails, once for as long as it does; returns what was told."""
        problem = f"the spool failed: {type(error).__name__}: {error}"  # no words of an event: of a file and the disk
        if problem != self._problem:
            log("spool.failed", level="error", problem=problem)
        self._problem = problem
        return problem
