"""Brings parked entries back when they are due and their lane has room (router.streams.store.parking).

Every consumer looks for parked entries of its streams, so those that a dead one parked come back too. Of each lane come
no more than it may begin here (router.streams.consuming.lanes): a single probe while it is closed, more with each
success, and never more than half of its room, so that new entries begin as well.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from router.logs import describe, describe_fully, log
from router.streams.client.connection import RedisError
from router.streams.consuming.lanes import LATE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from router.streams.consuming.lanes import Lanes
    from router.streams.consuming.parker import Parker
    from router.streams.delivery import StreamRef
    from router.streams.store.parking import Parking, Returned

#: Seconds between two looks: while nothing is parked, while nothing is due, while what is due has no room, and after
#: something was brought back.
IDLE: Final = 0.5
WAITING: Final = 0.2
CROWDED: Final = 0.05
BUSY: Final = 0.02


class Returner:
    """Looks at `streams`, which are on one server, and passes what it brings back, and its lane, to `take_back`.

    `room(lane)` is the number of subjects that may be brought back now, and `batch` the largest number of entries.
    """

    def __init__(
        self,
        parking: Parking,
        streams: Sequence[StreamRef],
        *,
        parker: Parker,
        lanes: Lanes,
        room: Callable[[str], int],
        batch: int,
        take_back: Callable[[list[Returned], str], Awaitable[None]],
    ) -> None:
        self._parking = parking
        self._streams = streams
        self._parker = parker
        self._lanes = lanes
        self._room = room
        self._batch = batch
        self._take_back = take_back
        self._rests: dict[StreamRef, set[str]] = {}
        self._first = 0  # the lane with which a round begins, so that none is always the last
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Look until canceled; a failure is logged once while it lasts, and the next look tries again."""
        logged = ""
        while True:
            pause, level, reason = WAITING, "warning", ""
            try:
                pause = await self.look()
            except (RedisError, OSError) as error:
                self._lanes.note_late(id(self), frozenset())
                reason = describe_fully(error)
            except Exception as error:  # noqa: BLE001 - without its returner a consumer would forget parked entries
                level, reason = "error", describe(error)
            if reason and reason != logged:
                log("parking.failed", level=level, error=reason)
            logged = reason
            await self._sleep(pause)

    async def _sleep(self, pause: float) -> None:
        """Sleep; shorter if something was parked or may be resumed meanwhile, but never without a pause."""
        await asyncio.sleep(BUSY)
        try:
            async with asyncio.timeout(pause - BUSY):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def wake(self) -> None:
        """Look soon: something was parked that is due."""
        self._wake.set()

    def resume(self, stream: StreamRef, subject: str) -> None:
        """Bring the rest of a subject back soon: nothing of it is in the window any more."""
        if stream in self._streams:
            self._rests.setdefault(stream, set()).add(subject)
            self._wake.set()

    async def look(self) -> float:
        """Bring back what is due and has room; returns the seconds until the next look."""
        for stream in self._streams:
            if subjects := self._rests.get(stream, set()).copy():
                await self._parking.resume(stream, subjects)
                self._rests[stream] -= subjects
        pause, begun, late = IDLE, self._parker.begun, set()
        for stream, lanes in zip(self._streams, await self._parking.lanes(self._streams), strict=True):
            if not lanes:
                if begun == self._parker.begun:  # else something may have been parked since they were listed
                    self._parker.streams.discard(stream)
                continue
            self._parker.streams.add(stream)
            pause = min(pause, WAITING)
            self._first = (self._first + 1) % len(lanes)
            for lane in lanes[self._first :] + lanes[: self._first]:
                if lane.due_in <= 0:
                    is_late = lane.due_in <= -LATE
                    if is_late:
                        late.add(lane.name)
                    pause = min(pause, BUSY if await self._bring_back(stream, lane.name, is_late=is_late) else CROWDED)
        if begun == self._parker.begun:
            self._lanes.note_late(id(self), late)
        return pause

    async def _bring_back(self, stream: StreamRef, lane: str, *, is_late: bool) -> bool:
        """Bring back as much of a lane as it has room for; returns whether that was anything."""
        subjects = self._room(lane)
        if self._lanes.is_slowed(lane):
            self._lanes.of(lane).is_crowded = False  # new entries do not wait for those that fail
        elif is_late and not subjects:
            self._lanes.crowd(lane)  # what is due comes before what is read from now on
        if not subjects:
            return False
        is_probe = self._lanes.of(lane).is_closed
        returned = await self._parking.bring_back(
            stream,
            lane,
            subjects=subjects,
            most=1 if is_probe else self._batch,
            of_subject=1 if is_probe else self._batch,
        )
        if returned:
            await self._take_back(returned, lane)
        return bool(returned)
