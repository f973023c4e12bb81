"""The containers that keep the sandbox fast at size: records in order of creation, the owners of a key, and timers.

They know nothing of conversations. Adding, finding and releasing are O(1) or O(log n); removing a record from the
middle moves pointers only.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar


class IndexEntry(Protocol):
    """A record of a timeline: an id, and a moment of creation that no other record has."""

    id: str
    moment: int


class TimedRecord(IndexEntry, Protocol):
    """A record with a timer; `timer_at` belongs to the timer queue."""

    timer_at: int | None


R = TypeVar("R", bound=IndexEntry)
T = TypeVar("T", bound=TimedRecord)
K = TypeVar("K", bound=Hashable)


def moment_of(record: IndexEntry) -> int:
    """Return the moment by which records are ordered."""
    return record.moment


class Timeline(Generic[R]):
    """Records by id and in order of creation; a record is added with a later moment than all before it."""

    def __init__(self) -> None:
        self._by_id: dict[str, R] = {}
        self._ordered: list[R] = []

    def add(self, record: R) -> None:
        """Append `record`."""
        self._by_id[record.id] = record
        self._ordered.append(record)

    def get(self, record_id: str) -> R | None:
        """Return the record with this id."""
        return self._by_id.get(record_id)

    def remove(self, record_id: str) -> None:
        """Remove the record with this id; raises KeyError if there is none."""
        record = self._by_id.pop(record_id)
        del self._ordered[bisect_left(self._ordered, record.moment, key=moment_of)]

    @property
    def ordered(self) -> Sequence[R]:
        """The records, oldest first; valid until the next change."""
        return self._ordered

    def __len__(self) -> int:
        return len(self._ordered)

    def __iter__(self) -> Iterator[R]:
        return iter(self._ordered)


class OwnerIndex(Generic[K]):
    """The owners of each key, with the number of times each holds it; a key without owners is deleted."""

    def __init__(self) -> None:
        self._owners: dict[K, dict[str, int]] = {}

    def add(self, keys: Iterable[K], owner: str) -> None:
        """Let `owner` hold each of `keys` once more."""
        for key in keys:
            counts = self._owners.setdefault(key, {})
            counts[owner] = counts.get(owner, 0) + 1

    def discard(self, keys: Iterable[K], owner: str) -> None:
        """Let `owner` hold each of `keys` once less; keys that it does not hold are ignored."""
        for key in keys:
            counts = self._owners.get(key, {})
            if counts.get(owner, 0) > 1:
                counts[owner] -= 1
            elif counts.pop(owner, None) is not None and not counts:
                del self._owners[key]

    def owners(self, key: K) -> tuple[str, ...]:
        """Return the owners of `key`, longest holder first."""
        return tuple(self._owners.get(key, ()))

    def __len__(self) -> int:
        return len(self._owners)


class TimerQueue(Generic[T]):
    """The records of a timeline whose timers run, in order of the time at which they are due; has no clock.

    A record has one entry. Traffic only moves its timers to a later time, so it costs nothing here: a due entry is
    checked by the caller, who schedules the record again.
    """

    def __init__(self, records: Timeline[T]) -> None:
        self._records = records
        self._heap: list[tuple[int, str]] = []

    def schedule(self, record: T, at: int | None) -> None:
        """Make `record` due at `at` (µs), unless it is due earlier; None schedules nothing."""
        if at is not None and (record.timer_at is None or at < record.timer_at):
            record.timer_at = at
            heapq.heappush(self._heap, (at, record.id))

    def take_due(self, now: int) -> Iterator[T]:
        """Yield and dequeue the records that are due, those that the caller schedules meanwhile included."""
        while self._heap and self._heap[0][0] <= now:
            at, record_id = heapq.heappop(self._heap)
            record = self._records.get(record_id)
            if record is not None and record.timer_at == at:
                record.timer_at = None
                yield record
