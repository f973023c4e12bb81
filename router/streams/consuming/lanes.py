"""Lanes: which entries may begin, so that those that wait or are slow leave room for all others.

A lane is what tends to fail together: `<account> <channel>`. Each process judges by what it sees itself; nothing of
this is stored. Three rules:

- *Shares*: a lane may hold as many slots as leave enough free ones: at most half of those that its account leaves,
  and an account at most two thirds of all. So however many lanes hang, the next one finds free slots.
- *Gates*: after CLOSE_AFTER different subjects have failed in a row the lane is *closed*. Then only probes begin, one
  every PROBE_EVERY seconds, until one succeeds. A subject that goes on failing counts no more after OWN_FAILURES tries:
  it says nothing about the others.

- *A slow start*: in a lane of which nothing is known yet FIRST subjects begin, one more with each success and half as
  many with each failure, until the shares bound it. So calls that hang are few, and do not all time out in one moment.

Entries that may not begin wait for a moment in the process (router.streams.consuming.admission) or are parked
(router.streams.store.parking). Those that are brought back begin at the lane's `allowance`, which grows by one with
each success and halves with each failure.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Final

from router.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

#: Different subjects that fail one after the other, without a success between them, to close a lane.
CLOSE_AFTER: Final = 5
#: Seconds between two probes of a closed lane.
PROBE_EVERY: Final = 1.0
#: Tries after which the failures of a subject are its own and say nothing about its lane.
OWN_FAILURES: Final = 3
#: Subjects that begin in a lane before one has succeeded.
FIRST: Final = 8
#: Subjects that begin in a lane of which all have failed so far, until it closes.
FEWEST: Final = 2
#: What is added to the lane of entries that the dead-letter budget keeps: those that succeed do not wait behind them.
_KEPT: Final = "kept"
#: Seconds for which something that is parked has to be due so that it counts as late.
LATE: Final = 0.2
#: Lanes without entries that are remembered at most.
MAX_IDLE: Final = 1_000


def kept_lane(name: str) -> str:
    """Return the lane in which entries of a lane wait that the dead-letter budget keeps."""
    return name if name.endswith(_KEPT) else f"{name} {_KEPT}".strip()


@dataclass(slots=True)
class LaneState:
    """The state of a lane in this process; `running` is the number of its subjects in the window."""

    account: str
    running: int = 0
    failed: set[str] = field(default_factory=set)
    probed_at: float = -inf
    limit: float = FIRST
    allowance: float = inf
    is_crowded: bool = False
    crowded_at: float = -inf

    @property
    def is_closed(self) -> bool:
        """Whether only probes may begin."""
        return len(self.failed) >= CLOSE_AFTER


class Lanes:
    """The lanes of one consumer: `slots` in its window, `calls` to the API of one account at once.

    `clock` returns seconds. For use within one event loop.
    """

    def __init__(self, slots: int, calls: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._slots = slots
        self._calls = min(slots, calls)
        self._clock = clock
        self._lanes: dict[str, LaneState] = {}
        self._accounts: Counter[str] = Counter()
        self._total = 0
        self._late: dict[int, AbstractSet[str]] = {}
        self.changed = asyncio.Event()

    def of(self, name: str) -> LaneState:
        """Return the state of a lane."""
        lane = self._lanes.get(name)
        if lane is None:
            if len(self._lanes) >= MAX_IDLE:
                self._lanes = {name: lane for name, lane in self._lanes.items() if lane.running or lane.failed}
            lane = self._lanes[name] = LaneState(name.partition(" ")[0])
        return lane

    def room(self, name: str) -> int:
        """Return how many further subjects of a lane may begin now."""
        lane = self.of(name)
        of_account = self._accounts[lane.account]
        by_lane = self._calls - of_account - lane.running
        by_account = 2 * (self._slots - self._total) - of_account
        of_lane = max(by_lane // 2, by_lane > 0 and not lane.running)  # one can always begin where there is a slot
        room = min(of_lane, -(-by_account // 3), int(min(lane.limit, self._slots)) - lane.running)
        if lane.is_closed and room > 0:
            return int(self._clock() - lane.probed_at >= PROBE_EVERY)
        return max(0, room)

    def room_to_return(self, name: str) -> int:
        """Return how many parked subjects of a lane may be brought back now: half of the room, within the allowance."""
        return max(0, min(self._half_of_room(name), self._allowed(name)))

    def is_slowed(self, name: str) -> bool:
        """Return whether failures, not a lack of room, bound what may be brought back now."""
        return self._allowed(name) < self._half_of_room(name)

    def _half_of_room(self, name: str) -> int:
        return (self.room(name) + 1) // 2

    def _allowed(self, name: str) -> int:
        lane = self.of(name)
        return int(min(lane.allowance, self._slots)) - lane.running

    def begin(self, name: str) -> None:
        """Note that a subject of the lane begins; in a closed lane it is a probe."""
        lane = self.of(name)
        lane.running += 1
        self._accounts[lane.account] += 1
        self._total += 1
        if lane.is_closed:
            lane.probed_at = self._clock()

    def end(self, name: str) -> None:
        """Note that nothing of a subject is in the window any more."""
        lane = self.of(name)
        lane.running -= 1
        self._total -= 1
        self._accounts[lane.account] -= 1
        if not self._accounts[lane.account]:
            del self._accounts[lane.account]
        self.changed.set()

    def note_late(self, part: int, names: AbstractSet[str]) -> None:
        """Note the lanes of which something parked in one part of the streams is late; the others are not crowded."""
        self._late[part] = names
        for name, lane in self._lanes.items():
            is_new = self._clock() - lane.crowded_at < LATE
            if lane.is_crowded and not is_new and not any(name in late for late in self._late.values()):
                lane.is_crowded = False

    def crowd(self, name: str) -> None:
        """Note that a lane has no room for what waits: it is crowded for LATE seconds, and while something is late."""
        lane = self.of(name)
        if not lane.is_crowded:
            lane.is_crowded, lane.crowded_at = True, self._clock()

    def crowded_for(self, name: str) -> float:
        """Return the seconds for which a lane has been crowded, 0 if it is not."""
        lane = self.of(name)
        return self._clock() - lane.crowded_at if lane.is_crowded else 0.0

    def note_success(self, name: str) -> None:
        """Note that an entry of the lane is done: an open lane stays open, a closed one opens."""
        lane = self._lanes.get(name)
        if lane is None or (not lane.failed and lane.allowance == lane.limit == inf):
            return
        if lane.is_closed:
            log("lane.opened", lane=name)
        lane.failed.clear()
        lane.allowance, lane.limit = self._grown(lane.allowance), self._grown(lane.limit)
        self.changed.set()

    def _grown(self, number: float) -> float:
        return inf if number >= self._slots else number + 1

    def note_failure(self, name: str, subject: str, *, tries: int) -> None:
        """Note that an attempt did not succeed; `tries` is the number of those before it."""
        if tries >= OWN_FAILURES:
            return
        lane = self.of(name)
        if not lane.is_closed:
            lane.failed.add(subject)
            if lane.is_closed:
                log("lane.closed", level="warning", lane=name)
        self._slow_down(lane)

    def note_given_up(self, name: str) -> None:
        """Note that an entry failed by its own fault: it becomes a dead letter, or the budget keeps it."""
        self._slow_down(self.of(name))

    def _slow_down(self, lane: LaneState) -> None:
        if lane.limit < inf:
            lane.limit = max(FEWEST, lane.limit // 2)
        lane.allowance = max(1, min(lane.allowance, self._slots) // 2)
