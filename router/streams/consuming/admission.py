"""Admission to the window: which entries of a batch begin, and which wait so that reading can go on.

An entry begins if its subject is in the window already and has room there, or if its lane has room
(router.streams.consuming.lanes). Otherwise it queues in memory as long as its lane moves on, so that short bursts are
not parked. A lane that does not for PATIENCE seconds, or whose queue is full, is *crowded*: its entries are parked at
once until none that is parked waits in vain, and after PATIENCE seconds more those that queue, so that what came first
goes first. Nor does an entry queue behind another of its subject while others of the lane wait: a customer who never
stops writing would keep the place.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from router.streams.consuming.lane_queues import LaneQueues
from router.streams.delivery import size_of
from router.streams.store.parking import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from router.streams.consuming.lanes import Lanes
    from router.streams.consuming.names import EntryNames
    from router.streams.consuming.parker import Parker
    from router.streams.consuming.pending import PendingEntries
    from router.streams.consuming.window import Window
    from router.streams.delivery import Delivery

#: Seconds for which a lane's queue may stand still.
PATIENCE: Final = 1.0
#: Seconds after which those who have a place in such a lane get no further entry: the next ones need their places.
YIELD_AFTER: Final = 0.05
#: What one subject may hold is this part of the room that all others leave, so that there is always some.
SHARE: Final = 8
CLOSED: Final = Waiting("", "the last events of its account and channel failed")
CROWDED: Final = Waiting("", "its account and channel have no room")
#: The subject has as many entries in the window as fit: the others come back after them, or after so many seconds.
FULL: Final = Waiting("", "many events of its subject", delay=5.0)


class Admission:
    """Puts entries into `window`, whose `on_idle` must be `end`; `behind` entries of one subject may queue there.

    `on_rest(delivery)` is called for each subject that leaves the window and of which entries are parked.
    """

    def __init__(
        self,
        *,
        lanes: Lanes,
        names: EntryNames,
        pending: PendingEntries,
        parker: Parker,
        behind: int,
        on_rest: Callable[[Delivery], None],
    ) -> None:
        self._lanes = lanes
        self._names = names
        self._pending = pending
        self._parker = parker
        self._behind = behind
        self._on_rest = on_rest
        self._lane_of: dict[str, str] = {}  # by subject in the window
        self._rests: dict[str, Delivery] = {}  # by subject: one whose subject has parked entries
        self._queues = LaneQueues()
        self._leaving: set[str] = set()  # subjects that are being parked: no later entry of theirs may begin
        self._parks: set[asyncio.Task[None]] = set()
        self._queued = asyncio.Event()
        self._is_open = True
        self.window: Window[Delivery]

    def lane_of(self, delivery: Delivery) -> str:
        """Return the lane in which the delivery's subject is held, else its own."""
        subject = self._names.subject(delivery)
        lane = self._lane_of.get(subject)
        lane = self._queues.lane_of(subject) if lane is None else lane
        return self._names.lane(delivery) if lane is None else lane

    def is_busy(self, subject: str) -> bool:
        """Return whether an entry of this subject is held: a later one must queue behind it."""
        return self.window.is_busy(subject) or self._queues.lane_of(subject) is not None or subject in self._leaving

    @property
    def is_parking(self) -> bool:
        """Whether something that queued is being parked: its subjects are busy, though nothing of them is held."""
        return bool(self._leaving)

    async def admit(self, deliveries: Sequence[Delivery]) -> None:
        """Put deliveries into the window or the queue of their lane, or park them; returns once all is done."""
        left = list(deliveries)[::-1]
        refused: dict[Waiting, list[Delivery]] = {}
        subjects: dict[str, Waiting] = {}
        try:
            while left:
                delivery = left[-1]
                subject = self._names.subject(delivery)
                reason = subjects.get(subject) or self._place(subject, delivery)
                left.pop()
                if reason is None:
                    continue
                subjects[subject] = reason
                refused.setdefault(reason, []).append(delivery)
                if reason is FULL:
                    self._rests[subject] = delivery
            while refused:
                reason, parked = refused.popitem()
                await self._parker.park(parked, reason)
        finally:  # whatever happens, no entry is held that is in none of the places
            self._pending.release([*left, *(one for parked in refused.values() for one in parked)])

    async def admit_returned(self, deliveries: Sequence[Delivery], came_from: str) -> None:
        """Put deliveries into the window that had waited in a lane with room, unless their subject is full."""
        refused: dict[Waiting, list[Delivery]] = {}
        for delivery in deliveries:
            subject = self._names.subject(delivery)
            lane = self._queues.lane_of(subject)
            number = self.window.queued(subject) if lane is None else self._queues.queued(subject)
            if subject in self._leaving:
                refused.setdefault(CROWDED, []).append(delivery)
            elif number >= 2 * self._behind or (self.is_busy(subject) and not self.window.room):
                refused.setdefault(FULL, []).append(delivery)
                self._rests[subject] = delivery
            elif lane is None:
                self._begin(subject, delivery, came_from)
            else:
                self._queue(lane, subject, delivery)
        for reason, parked in refused.items():
            await self._parker.park(parked, reason)

    def room_to_return(self, lane: str) -> int:
        """Return how many parked subjects of a lane may be brought back now: none before those that queue."""
        return 0 if self._queues.number(lane) else self._lanes.room_to_return(lane)

    async def run(self) -> None:
        """Let entries that queue into the window, or park them, until canceled."""
        while True:
            if not self._queues:
                self._queued.clear()
                await self._queued.wait()
            self._lanes.changed.clear()
            self._let_in()
            for lane in self._queues:
                if self._lanes.of(lane).is_closed:
                    self._park_queue(lane, CLOSED)
                elif self._idle(lane) >= PATIENCE or self._lanes.crowded_for(lane) >= PATIENCE:
                    self._lanes.crowd(lane)
                    self._park_queue(lane, CROWDED)
            await self._wait_for_change()

    def close(self) -> None:
        """Take out what queues, after `run` was canceled, and park it for whoever goes on (see `parked`)."""
        self._is_open = False
        for lane in self._queues:
            self._park_queue(lane, CROWDED)

    async def parked(self) -> None:
        """Wait until what is being parked is parked."""
        await asyncio.gather(*self._parks)

    def _idle(self, lane: str) -> float:
        return time.monotonic() - self._queues.idle_since(lane)

    async def _wait_for_change(self) -> None:
        """Wait until a lane may have room, or the queue of one has stood still for PATIENCE."""
        left = min([PATIENCE - self._idle(lane) for lane in self._queues], default=0.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._lanes.changed.wait()

    def _let_in(self) -> None:
        for lane in self._queues:
            while self._queues.number(lane) and self._lanes.room(lane):
                subject, deliveries = self._queues.pop(lane)
                self.window.let_go(deliveries)
                for delivery in deliveries:
                    self._begin(subject, delivery)

    def _park_queue(self, lane: str, reason: Waiting) -> None:
        """Park what queues in a lane, in the background; until that is done none of its subjects may begin."""
        subjects = self._queues.pop_all(lane)
        deliveries = [one for part in subjects.values() for one in part]
        self.window.let_go(deliveries)
        self._leaving |= subjects.keys()
        for subject in subjects:
            self._rests.pop(subject, None)

        async def park() -> None:
            try:
                await self._parker.park(deliveries, reason)
            finally:
                self._leaving.difference_update(subjects)

        task = asyncio.create_task(park(), name=f"park {lane}")
        self._parks.add(task)
        task.add_done_callback(self._parks.discard)

    def note_rest(self, delivery: Delivery) -> None:
        """Note that further entries of a delivery's subject are parked: `on_rest` follows once it left the window."""
        subject = self._names.subject(delivery)
        if self.window.is_busy(subject) or self._queues.lane_of(subject) is not None:
            self._rests[subject] = delivery
        else:
            self._on_rest(delivery)

    def forget_rest(self, delivery: Delivery) -> None:
        """Note that the subject of a delivery was parked as a whole: it comes back when it is due."""
        self._rests.pop(self._names.subject(delivery), None)

    def end(self, subject: str) -> None:
        """Note that nothing of a subject is in the window any more."""
        if (lane := self._lane_of.pop(subject, None)) is not None:
            self._lanes.end(lane)
        if (rest := self._rests.pop(subject, None)) is not None:
            self._on_rest(rest)

    def _begin(self, subject: str, delivery: Delivery, came_from: str | None = None) -> None:
        is_new = not self.window.is_busy(subject)
        if not self.window.put(subject, delivery):
            self._pending.release([delivery])  # closing: it stays pending, and a survivor takes it over
        elif is_new:
            lane = self._lane_of[subject] = self._names.lane(delivery) if came_from is None else came_from
            self._lanes.begin(lane)

    def _queue(self, lane: str, subject: str, delivery: Delivery) -> None:
        self._queues.put(lane, subject, delivery)
        self.window.hold(delivery)
        self._queued.set()

    def _place(self, subject: str, delivery: Delivery) -> Waiting | None:
        """Let an entry begin or queue; returns the reason for which it is to be parked, if it can do neither."""
        if subject in self._leaving:
            return CROWDED
        if self.is_busy(subject):
            return self._place_behind(subject, delivery)
        if self.window.is_closing:
            self._begin(subject, delivery)
            return None
        return self._place_in_lane(self._names.lane(delivery), subject, delivery)

    def _place_in_lane(self, name: str, subject: str, delivery: Delivery) -> Waiting | None:
        lane = self._lanes.of(name)
        if not lane.is_crowded and not self._queues.number(name) and self._lanes.room(name) and self.window.room:
            self._begin(subject, delivery)
            return None
        if lane.is_closed:
            return CLOSED
        if lane.is_crowded or not self._may_queue(name, delivery):
            self._lanes.crowd(name)
            return CROWDED
        self._queue(name, subject, delivery)
        return None

    def _place_behind(self, subject: str, delivery: Delivery) -> Waiting | None:
        """Let an entry queue behind another of its subject, which is in the window or in the queue of its lane."""
        lane = self._queues.lane_of(subject)
        number = self.window.queued(subject) if lane is None else self._queues.queued(subject)
        behind = 0 if self._must_yield(self.lane_of(delivery)) else min(self._behind, -(-self.window.room // SHARE))
        if number >= behind:
            return FULL
        if lane is None:
            self._begin(subject, delivery)
        else:
            self._queue(lane, subject, delivery)
        return None

    def _must_yield(self, lane: str) -> bool:
        """Return whether the subjects that are in the window must make room for others of their lane."""
        return self._lanes.of(lane).is_crowded or (self._queues.number(lane) > 0 and self._idle(lane) >= YIELD_AFTER)

    def _may_queue(self, lane: str, delivery: Delivery) -> bool:
        """Return whether the queue of a lane leaves as much as it takes, in entries and in bytes."""
        if not self._is_open:
            return False
        return (
            self._queues.number(lane) < self.window.room
            and self._queues.size(lane) + size_of(delivery) <= self.window.free_bytes
        )
