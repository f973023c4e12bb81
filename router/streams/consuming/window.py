"""The in-flight window: many subjects at once, the entries of one subject in order, and bounds on slots and memory.

Order is that of the stream, not of arrival: an entry taken over from a dead process goes before entries read meanwhile,
even before one that has begun to wait for it.

An entry that pauses between two attempts keeps its place in its subject and gives its slot to others. That is for short
waits only: whatever waits for longer is parked in Redis (router.streams.store.parking) and leaves the window.

Entries that queued behind another of their subject are tried together, since one by one each costs round trips of its
own. Gain, by a test of one customer: 99 to 1,436 messages/s after a slow call.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from enum import Enum
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from router.core.backoff import backoff
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection

T = TypeVar("T")

#: Entries held at most, as a multiple of the slots.
HELD_PER_SLOT: Final = 4
#: Bytes held, above which nothing more should be put in. Two thousand usual entries take a third of it.
HELD_BYTES: Final = 8 * 1_048_576


#: Items of the first run, and of each after one that did not settle all.
FIRST_RUN: Final = 8
#: Items that go alone at most until a run is tried again.
MOST_ALONE: Final = 64


class WorkResult(Enum):
    """The fate of an item after its work."""

    FINISHED = "finished"
    #: It goes back to its subject's queue, behind the items that come before it.
    REQUEUE = "requeue"


class RunPace:
    """How many queued items of one subject are worked on together next; `most` bounds such a run.

    The first item goes alone. After it a run of those behind it is tried: a few at first, twice as many after each run
    that settled all. A run that settled none was in vain, because each of its items needs something of its own: then
    twice as many as before go alone until the next.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = min(FIRST_RUN, most)
        self._alone = 1
        self._in_vain = 0

    def next_run(self, queued: int) -> int:
        """Return how many of the `queued` entries go together now; 0: the next one goes alone, and is counted."""
        if self._alone or min(queued, self._most) < 2:  # noqa: PLR2004 - one entry has nothing to go together with
            self._alone = max(0, self._alone - 1)
            return 0
        return min(self._size, queued)

    def note(self, tried: int, settled: int) -> None:
        """Note the result of a run."""
        if settled == tried:
            self._size, self._in_vain = min(2 * self._size, self._most), 0
            return
        self._in_vain = 0 if settled else self._in_vain + 1
        self._size = min(FIRST_RUN, self._most)
        self._alone = int(backoff(1, self._in_vain, ceiling=MOST_ALONE))


class Window(Generic[T]):
    """Runs `work(item)` for the items put in, `limit` at a time; `work` must not raise.

    `order` is the sort key of an item within its subject; items with equal keys run as they came. `weigh` returns the
    bytes of an item. `on_idle(subject)` is called when nothing of a subject is held any more. `together`, if given,
    works on up to `most` items of a subject at once, which have queued behind another; it returns those that are left
    to be worked on alone, and must not raise. Only for use within one event loop.
    """

    def __init__(
        self,
        limit: int,
        work: Callable[[T], Awaitable[WorkResult]],
        *,
        order: Callable[[T], Any] = lambda _: 0,
        weigh: Callable[[T], int] = lambda _: 0,
        on_idle: Callable[[str], None] = lambda _: None,
        together: Callable[[list[T]], Awaitable[list[T]]] | None = None,
        most: int = 1,
    ) -> None:
        self._limit = limit
        self._work = work
        self._order = order
        self._weigh = weigh
        self._on_idle = on_idle
        self._together = together
        self._most = most
        self._bytes = 0
        self._numbers = count()
        self._queues: dict[str, list[tuple[Any, int, T]]] = {}  # a heap by subject, without the item at work
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(limit)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._working: set[asyncio.Task[Any] | None] = set()
        self._paused: set[asyncio.Task[Any] | None] = set()
        self._held = 0
        self._finished = 0
        self._closing = False

    @property
    def held(self) -> int:
        """Number of entries held, pausing ones included."""
        return self._held

    def is_busy(self, subject: str) -> bool:
        """Return whether an entry of this subject is held: a later one must queue behind it."""
        return subject in self._queues

    def queued(self, subject: str) -> int:
        """Return the number of entries that queue behind the one at work."""
        return len(self._queues.get(subject, ()))

    @property
    def room(self) -> int:
        """Number of further entries that may be held; 0 at the bound in bytes."""
        return 0 if self._bytes >= HELD_BYTES else max(0, self._limit * HELD_PER_SLOT - self._held)

    @property
    def free_bytes(self) -> int:
        """Bytes that may still be held."""
        return max(0, HELD_BYTES - self._bytes)

    @property
    def is_closing(self) -> bool:
        """Whether nothing more is taken in."""
        return self._closing

    def has_earlier(self, subject: str, item: T) -> bool:
        """Return whether an item that comes before `item`, which is at work, waits in the queue of its subject."""
        queue = self._queues.get(subject)
        return bool(queue and queue[0][0] < self._order(item))

    def put(self, subject: str, item: T) -> bool:
        """Take an item in regardless of room: it waits for its slot in here. Returns False once the window closes."""
        if self._closing:
            return False
        self.hold(item)
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

    def take_queued(self, subject: str) -> list[T]:
        """Take the items out that queue behind the one at work, in order: they are no longer held."""
        queue = self._queues.get(subject, [])
        items = [item for _, _, item in sorted(queue, key=lambda row: row[:2])]
        queue.clear()
        self.let_go(items)
        return items

    def hold(self, item: T) -> None:
        """Count an item as held that is to be put in later, after `let_go`."""
        self._held += 1
        self._bytes += self._weigh(item)

    def let_go(self, items: Collection[T]) -> None:
        """Count items as held no longer."""
        self._held -= len(items)
        self._bytes -= sum(map(self._weigh, items))

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Give the slot to others while the block runs, then wait for one; for use inside `work`."""
        self._release_slot()
        task = asyncio.current_task()
        try:
            if self._closing and task is not None:
                task.cancel()  # a closing window does not wait for pausing items
            self._paused.add(task)
            yield
            self._paused.discard(task)
            await self._take_slot()
        finally:
            self._paused.discard(task)

    async def _take_slot(self) -> None:
        await self._slots.acquire()  # first come, first served
        self._working.add(asyncio.current_task(self._loop))

    def _release_slot(self) -> None:
        """Give the slot up, if this task has one: a task that is cut off while it pauses has none."""
        task = asyncio.current_task(self._loop)
        if task in self._working:
            self._working.remove(task)
            self._slots.release()

    async def _run(self, subject: str) -> None:
        queue, pace = self._queues[subject], RunPace(self._most)
        try:
            while queue:
                await self._take_slot()
                try:
                    if not self._closing and (size := pace.next_run(len(queue))):
                        await self._work_together(queue, size, pace)
                    elif queue:  # else they were taken out meanwhile
                        await self._work_alone(queue)
                finally:
                    self._release_slot()
        finally:
            self.let_go([item for _, _, item in queue])
            del self._queues[subject]
            self._on_idle(subject)

    async def _work_alone(self, queue: list[tuple[Any, int, T]]) -> None:
        row = heappop(queue)
        is_back = False
        try:
            is_back = await self._work(row[2]) is WorkResult.REQUEUE
            self._finished += not is_back
        finally:
            if is_back:
                heappush(queue, row)
            else:
                self.let_go([row[2]])

    async def _work_together(self, queue: list[tuple[Any, int, T]], size: int, pace: RunPace) -> None:
        """Work on the first items of a queue at once; those that are left go back to their places."""
        rows = [heappop(queue) for _ in range(size)]
        left = [row[2] for row in rows]
        try:
            left = await self._together(left) if self._together is not None else left
        finally:
            kept = set(map(id, left))
            for row in rows:
                if id(row[2]) in kept:
                    heappush(queue, row)
            settled = [row[2] for row in rows if id(row[2]) not in kept]
            self.let_go(settled)
            self._finished += len(settled)
            pace.note(size, len(settled))

    async def close(self, grace: float) -> int:
        """Take nothing more in, cut off pausing items, give the rest `grace` seconds; returns how many were cut off."""
        expected = self._held + self._finished
        self._closing = True
        for task in self._paused:
            if task is not None:
                task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        await end(*self._tasks)
        return max(0, expected - self._finished)
