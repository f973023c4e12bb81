"""Queues of entries that were read and wait for a moment, in memory, until their lane has room."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from router.streams.delivery import size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from router.streams.delivery import Delivery


@dataclass(slots=True)
class _Queue:
    """The entries of one lane by subject, the subjects as they came; `moved_at`: when it last began or moved on."""

    moved_at: float
    subjects: dict[str, list[Delivery]] = field(default_factory=dict)
    number: int = 0
    size: int = 0


class LaneQueues:
    """The queues of one consumer, by lane. `clock` returns seconds. For use within one event loop."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._queues: dict[str, _Queue] = {}
        self._lane_of: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._queues)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the lanes that have a queue; they may be changed meanwhile."""
        return iter([*self._queues])

    def lane_of(self, subject: str) -> str | None:
        """Return the lane in which entries of a subject queue, None if there are none."""
        return self._lane_of.get(subject)

    def queued(self, subject: str) -> int:
        """Return the number of queued entries of a subject."""
        lane = self._lane_of.get(subject)
        return len(self._queues[lane].subjects[subject]) if lane is not None else 0

    def number(self, lane: str) -> int:
        """Return the number of queued entries of a lane."""
        queue = self._queues.get(lane)
        return queue.number if queue is not None else 0

    def size(self, lane: str) -> int:
        """Return the bytes of the queued entries of a lane."""
        queue = self._queues.get(lane)
        return queue.size if queue is not None else 0

    def idle_since(self, lane: str) -> float:
        """Return the time since which no subject of a lane's queue has moved on."""
        return self._queues[lane].moved_at

    def put(self, lane: str, subject: str, delivery: Delivery) -> None:
        """Add an entry; a subject that queues already stays in its lane."""
        lane = self._lane_of.setdefault(subject, lane)
        queue = self._queues.get(lane)
        if queue is None:
            queue = self._queues[lane] = _Queue(self._clock())
        queue.subjects.setdefault(subject, []).append(delivery)
        queue.number += 1
        queue.size += size_of(delivery)

    def pop(self, lane: str) -> tuple[str, list[Delivery]]:
        """Take the first subject of a lane's queue out, which has moved on by this."""
        queue = self._queues[lane]
        subject = next(iter(queue.subjects))
        deliveries = queue.subjects.pop(subject)
        del self._lane_of[subject]
        queue.moved_at = self._clock()
        queue.number -= len(deliveries)
        queue.size -= sum(map(size_of, deliveries))
        if not queue.subjects:
            del self._queues[lane]
        return subject, deliveries

    def pop_all(self, lane: str) -> dict[str, list[Delivery]]:
        """Take all subjects of a lane's queue out."""
        subjects = self._queues.pop(lane).subjects
        for subject in subjects:
            del self._lane_of[subject]
        return subjects
