"""Admission to the window: which entries of a batch begin, and which are parked so that reading can go on.

An entry begins if its subject is in the window already and has room there, or if its lane has room
(router.streams.consuming.lanes). A lane that has no room gets PATIENCE seconds for each batch to make some, so that
short bursts are not parked; after that the lane is *crowded*: its entries are parked at once until half of it is free,
or nothing of it that is parked is due any more. In a crowded lane no entry queues behind another of its subject: a
subject that is never finished would keep its place, and those that wait for one would come after all of its backlog.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from router.streams.store.parking import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from router.streams.consuming.lanes import Lanes
    from router.streams.consuming.names import EntryNames
    from router.streams.consuming.parker import Parker
    from router.streams.consuming.pending import PendingEntries
    from router.streams.consuming.window import Window
    from router.streams.delivery import Delivery

#: Seconds that a batch may wait for room in lanes that are not crowded yet. Entries of other lanes wait as long.
PATIENCE: Final = 0.03
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
        self.window: Window[Delivery]

    def lane_of(self, delivery: Delivery) -> str:
        """Return the lane in which the delivery's subject is in the window, else its own."""
        lane = self._lane_of.get(self._names.subject(delivery))
        return self._names.lane(delivery) if lane is None else lane

    async def admit(self, deliveries: Sequence[Delivery]) -> None:
        """Put deliveries into the window, or park them; returns once each is in one of the two places."""
        left = list(deliveries)[::-1]
        refused: dict[Waiting, list[Delivery]] = {}
        subjects: dict[str, Waiting] = {}
        deadline: float | None = None
        try:
            while left:
                delivery = left[-1]
                subject = self._names.subject(delivery)
                reason = subjects.get(subject) or self._refusal(subject, delivery)
                if reason is CROWDED:
                    deadline = time.monotonic() + PATIENCE if deadline is None else deadline
                    reason = await self._wait_for_room(subject, delivery, deadline)
                left.pop()
                if reason is None:
                    self._begin(subject, delivery)
                    continue
                subjects[subject] = reason
                refused.setdefault(reason, []).append(delivery)
                if reason is FULL:
                    self._rests[subject] = delivery
            while refused:
                reason, parked = refused.popitem()
                await self._parker.park(parked, reason)
        finally:  # whatever happens, no entry is held that is in neither of the two places
            self._pending.release([*left, *(one for parked in refused.values() for one in parked)])

    async def admit_returned(self, deliveries: Sequence[Delivery]) -> None:
        """Put deliveries into the window for which the caller has asked the lanes, unless their subject is full."""
        refused: list[Delivery] = []
        for delivery in deliveries:
            subject = self._names.subject(delivery)
            if self.window.queued(subject) < 2 * self._behind:
                self._begin(subject, delivery)
            else:
                refused.append(delivery)
                self._rests[subject] = delivery
        if refused:
            await self._parker.park(refused, FULL)

    def note_rest(self, delivery: Delivery) -> None:
        """Note that further entries of a delivery's subject are parked: `on_rest` follows once it left the window."""
        subject = self._names.subject(delivery)
        if self.window.is_busy(subject):
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

    def _begin(self, subject: str, delivery: Delivery) -> None:
        is_new = not self.window.is_busy(subject)
        if not self.window.put(subject, delivery):
            self._pending.release([delivery])  # closing: it stays pending, and a survivor takes it over
        elif is_new:
            lane = self._lane_of[subject] = self._names.lane(delivery)
            self._lanes.begin(lane)

    def _refusal(self, subject: str, delivery: Delivery) -> Waiting | None:
        """Return the reason for which an entry may not begin now, None if it may."""
        if self.window.is_closing:
            return None
        if self.window.is_busy(subject):
            behind = 0 if self._lanes.of(self.lane_of(delivery)).is_crowded else self._behind
            return None if self.window.queued(subject) < behind and self.window.room else FULL
        lane = self._names.lane(delivery)
        if self._lanes.room(lane) and self.window.room:
            return None
        return CLOSED if self._lanes.of(lane).is_closed else CROWDED

    async def _wait_for_room(self, subject: str, delivery: Delivery, deadline: float) -> Waiting | None:
        """Wait for room until `deadline`; returns as `_refusal`."""
        lane = self._lanes.of(self._names.lane(delivery))
        while (reason := self._refusal(subject, delivery)) is CROWDED and not lane.is_crowded:
            left = deadline - time.monotonic()
            if left <= 0:
                lane.is_crowded = True
                break
            self._lanes.changed.clear()
            try:
                async with asyncio.timeout(left):
                    await self._lanes.changed.wait()
            except TimeoutError:
                continue
        return reason
