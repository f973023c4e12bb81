"""The in-flight window: many subjects at once, the entries of one subject in order, and bounds on slots and memory.

Order is that of the stream, not of arrival: an entry taken over from a dead process goes before entries read meanwhile,
even before one that has begun to wait for it.

An entry that waits for something to recover is *parked*: it keeps its place in its subject and gives its slot to
others, so that an outage of the API does not stop entries that need no API. Then it waits for a slot again, in turn.
Reading stops when all slots are taken, or when the entries held, parked ones included, reach a bound in number or in
bytes.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from enum import Enum
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

T = TypeVar("T")

#: Entries held at most, as a multiple of the slots.
HELD_PER_SLOT: Final = 20
#: Bytes held, above which nothing more is admitted. Ten thousand usual entries take a tenth of it; mails take more.
HELD_BYTES: Final = 64 * 1_048_576


class WorkResult(Enum):
    """The fate of an item after its work."""

    FINISHED = "finished"
    #: It goes back to its subject's queue, behind the items that come before it.
    REQUEUE = "requeue"


class Window(Generic[T]):
    """Runs `work(item)` for admitted items, `limit` at a time; `work` must not raise.

    `order` is the sort key of an item within its subject; items with equal keys run as they came. `weigh` returns the
    bytes of an item. Only for use within one event loop.
    """

    def __init__(
        self,
        limit: int,
        work: Callable[[T], Awaitable[WorkResult]],
        *,
        order: Callable[[T], Any] = lambda _: 0,
        weigh: Callable[[T], int] = lambda _: 0,
    ) -> None:
        self._limit = limit
        self._work = work
        self._order = order
        self._weigh = weigh
        self._bytes = 0
        self._numbers = count()
        self._queues: dict[str, list[tuple[Any, int, T]]] = {}  # a heap by subject, without the item at work
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(limit)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._working: set[asyncio.Task[Any] | None] = set()
        self._parked: set[asyncio.Task[Any] | None] = set()
        self._without_slot = 0
        self._held = 0
        self._changed = asyncio.Event()
        self._finished = 0
        self._closing = False

    @property
    def held(self) -> int:
        """Number of entries held, parked ones included."""
        return self._held

    def is_busy(self, subject: str) -> bool:
        """Return whether an entry of this subject is held: a later one must queue behind it."""
        return subject in self._queues

    @property
    def room(self) -> int:
        """Number of further entries that may begin; negative while parked ones return to a full window."""
        if self._bytes >= HELD_BYTES:
            return 0
        running = len(self._queues) - self._without_slot
        return min(self._limit - running, self._limit * HELD_PER_SLOT - self._held)

    @property
    def is_at_capacity(self) -> bool:
        """Whether the entries held reach a bound, so that nothing more is admitted even if slots are free."""
        return self._bytes >= HELD_BYTES or self._held >= self._limit * HELD_PER_SLOT

    @property
    def has_room(self) -> bool:
        """Whether another entry may begin."""
        return self.room > 0

    async def wait_for_room(self) -> bool:
        """Return True once there is room, False if the window closes first."""
        while not self._closing and not self.has_room:
            self._changed.clear()
            await self._changed.wait()
        return not self._closing

    def has_earlier(self, subject: str, item: T) -> bool:
        """Return whether an item that comes before `item`, which is at work, waits in the queue of its subject."""
        queue = self._queues.get(subject)
        return bool(queue and queue[0][0] < self._order(item))

    async def admit(self, subject: str, item: T) -> bool:
        """Take an item in once there is room; returns False, without taking it, if the window closes first."""
        return await self.wait_for_room() and self.put(subject, item)

    def put(self, subject: str, item: T) -> bool:
        """Take an item in regardless of room: it waits for its slot in here. Returns False once the window closes."""
        if self._closing:
            return False
        self._held += 1
        self._bytes += self._weigh(item)
        row = (self._order(item), next(self._numbers), item)
        queue = self._queues.get(subject)
        if queue is not None:
            heappush(queue, row)
            return True
        self._queues[subject] = [row]
        if self._loop is None:
            self._loop = asyncio.get_running_loop()  # a system call: once, not four times per item
        task = self._loop.create_task(self._run(subject), name=f"subject {len(self._tasks)}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    @asynccontextmanager
    async def parked(self) -> AsyncIterator[None]:
        """Give the slot to others while the block runs, then wait for one; for use inside `work`."""
        self._without_slot += 1
        self._release_slot()
        task = asyncio.current_task()
        try:
            if self._closing and task is not None:
                task.cancel()  # a closing window does not wait for parked items
            self._parked.add(task)
            yield
            self._parked.discard(task)
            await self._take_slot()
        finally:
            self._parked.discard(task)
            self._without_slot -= 1

    async def _take_slot(self) -> None:
        await self._slots.acquire()  # first come, first served
        self._working.add(asyncio.current_task(self._loop))

    def _release_slot(self) -> None:
        """Give the slot up, if this task has one: a task that is cut off while parked has none."""
        task = asyncio.current_task(self._loop)
        if task in self._working:
            self._working.remove(task)
            self._slots.release()
        self._changed.set()

    async def _run(self, subject: str) -> None:
        queue = self._queues[subject]
        try:
            while queue:
                await self._take_slot()
                row = heappop(queue)
                is_back = False
                try:
                    is_back = await self._work(row[2]) is WorkResult.REQUEUE
                    self._finished += not is_back
                finally:
                    if is_back:
                        heappush(queue, row)
                    else:
                        self._held -= 1
                        self._bytes -= self._weigh(row[2])
                    self._release_slot()
        finally:
            self._held -= len(queue)
            self._bytes -= sum(self._weigh(item) for _, _, item in queue)
            del self._queues[subject]
            self._changed.set()

    async def close(self, grace: float) -> int:
        """Admit nothing more, cut off parked items, give the rest `grace` seconds; returns how many were cut off."""
        expected = self._held + self._finished
        self._closing = True
        self._changed.set()
        for task in self._parked:
            if task is not None:
                task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        await end(*self._tasks)
        return expected - self._finished
