"""The in-flight window: many subjects at once, the entries of one subject in order, and a bound on both.

The order is that of the stream, not that of arrival: what is taken over from a dead process goes before what was read
meanwhile, also before an entry that has begun to wait for it.
An entry whose work waits for something to recover is *parked*: it keeps its place in its subject but gives its slot to
others, so that an outage of the API does not stop what needs no API; it goes on when a slot is free again, in its turn.
Reading stops when all slots are taken, or when so many entries, or so many bytes of them, are held (parked ones
included) that memory would grow.
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
#: Bytes above which nothing more is taken in: ten thousand usual entries are a tenth of it, as many mails are not.
HELD_BYTES: Final = 64 * 1_048_576


class Turn(Enum):
    """What work may say of an item other than that it is finished."""

    AGAIN = "again"


class Window(Generic[T]):
    """Runs `work(item)` for admitted items; `work` must not raise.

    It returns AGAIN to get the item once more, after what comes before it in its subject. `order` says what does; items
    that it holds equal go as they came. `weigh` tells the bytes of an item, `limit` is the number of slots. Only for
    use within one event loop.
    """

    def __init__(
        self,
        limit: int,
        work: Callable[[T], Awaitable[object]],
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
        self._lanes: dict[str, list[tuple[Any, int, T]]] = {}  # a heap each, without the item being worked on
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(limit)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._working: set[asyncio.Task[Any] | None] = set()
        self._resting: set[asyncio.Task[Any] | None] = set()
        self._parked = 0
        self._held = 0
        self._changed = asyncio.Event()
        self._finished = 0
        self._closing = False

    @property
    def held(self) -> int:
        """How many entries are here, parked ones included."""
        return self._held

    def is_busy(self, subject: str) -> bool:
        """Tell whether an entry of this subject is here: a later one must queue up behind it."""
        return subject in self._lanes

    @property
    def room(self) -> int:
        """How many more entries may begin; below 0 while those that were parked come back to a full window."""
        if self._bytes >= HELD_BYTES:
            return 0
        running = len(self._lanes) - self._parked
        return min(self._limit - running, self._limit * HELD_PER_SLOT - self._held)

    @property
    def is_crowded(self) -> bool:
        """Tell whether so much is held that nothing more is taken in, whatever the slots do."""
        return self._bytes >= HELD_BYTES or self._held >= self._limit * HELD_PER_SLOT

    @property
    def has_room(self) -> bool:
        """Tell whether another entry may begin."""
        return self.room > 0

    async def wait_for_room(self) -> bool:
        """Return True once there is room, False if the window closes first."""
        while not self._closing and not self.has_room:
            self._changed.clear()
            await self._changed.wait()
        return not self._closing

    def has_earlier(self, subject: str, item: T) -> bool:
        """Tell whether an item of this subject waits here that goes before `item`, which is being worked on."""
        lane = self._lanes.get(subject)
        return bool(lane and lane[0][0] < self._order(item))

    async def admit(self, subject: str, item: T) -> bool:
        """Take an item in, waiting for room; returns False, having taken nothing, if the window closes first."""
        return await self.wait_for_room() and self.put(subject, item)

    def put(self, subject: str, item: T) -> bool:
        """Take an item in, whether or not there is room: it waits for its slot in here. False once this closes."""
        if self._closing:
            return False
        self._held += 1
        self._bytes += self._weigh(item)
        row = (self._order(item), next(self._numbers), item)
        lane = self._lanes.get(subject)
        if lane is not None:
            heappush(lane, row)
            return True
        self._lanes[subject] = [row]
        if self._loop is None:
            self._loop = asyncio.get_running_loop()  # a system call: once, and not four times for each item
        task = self._loop.create_task(self._run(subject), name=f"lane {len(self._tasks)}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    @asynccontextmanager
    async def parked(self) -> AsyncIterator[None]:
        """Give the slot to others while the block runs, then wait for one; for use inside `work`."""
        self._parked += 1
        self._leave()
        task = asyncio.current_task()
        try:
            if self._closing and task is not None:
                task.cancel()  # there is nothing to wait for any more
            self._resting.add(task)
            yield
            self._resting.discard(task)
            await self._enter()
        finally:
            self._resting.discard(task)
            self._parked -= 1

    async def _enter(self) -> None:
        await self._slots.acquire()  # first come, first served
        self._working.add(asyncio.current_task(self._loop))

    def _leave(self) -> None:
        """Give the slot up, if there is one: who is cut off while parked has none."""
        task = asyncio.current_task(self._loop)
        if task in self._working:
            self._working.remove(task)
            self._slots.release()
        self._changed.set()

    async def _run(self, subject: str) -> None:
        lane = self._lanes[subject]
        try:
            while lane:
                await self._enter()
                row = heappop(lane)
                is_back = False
                try:
                    is_back = await self._work(row[2]) is Turn.AGAIN
                    self._finished += not is_back
                finally:
                    if is_back:
                        heappush(lane, row)
                    else:
                        self._held -= 1
                        self._bytes -= self._weigh(row[2])
                    self._leave()
        finally:
            self._held -= len(lane)
            self._bytes -= sum(self._weigh(item) for _, _, item in lane)
            del self._lanes[subject]
            self._changed.set()

    async def close(self, grace: float) -> int:
        """Admit nothing more, cut off what is parked, give the rest `grace` seconds; returns how many were cut off."""
        expected = self._held + self._finished
        self._closing = True
        self._changed.set()
        for task in self._resting:
            if task is not None:
                task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        await end(*self._tasks)
        return expected - self._finished
