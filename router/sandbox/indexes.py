"""The two containers that keep the sandbox fast at size: records in order of creation, and who owns a key.

Both know nothing of conversations. Adding, finding and releasing are O(1) or O(log n); removing a record from the
middle moves pointers only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar


class IndexEntry(Protocol):
    """What a timeline holds: an id, and the moment of creation that no other record has."""

    id: str
    moment: int


R = TypeVar("R", bound=IndexEntry)
K = TypeVar("K", bound=Hashable)


def moment_of(record: IndexEntry) -> int:
    """Return what records are ordered by."""
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
        """Take the record out; KeyError if it is not there."""
        record = self._by_id.pop(record_id)
        del self._ordered[bisect_left(self._ordered, record.moment, key=moment_of)]

    @property
    def ordered(self) -> Sequence[R]:
        """The records, oldest first; not to be kept over a change."""
        return self._ordered

    def __len__(self) -> int:
        return len(self._ordered)

    def __iter__(self) -> Iterator[R]:
        return iter(self._ordered)


class OwnerIndex(Generic[K]):
    """Which owners hold a key, and how many times each; a key without owners is forgotten."""

    def __init__(self) -> None:
        self._owners: dict[K, dict[str, int]] = {}

    def add(self, keys: Iterable[K], owner: str) -> None:
        """Let `owner` hold each of `keys` once more."""
        for key in keys:
            counts = self._owners.setdefault(key, {})
            counts[owner] = counts.get(owner, 0) + 1

    def discard(self, keys: Iterable[K], owner: str) -> None:
        """Take back one holding of each of `keys`; what is not held is ignored."""
        for key in keys:
            counts = self._owners.get(key, {})
            if counts.get(owner, 0) > 1:
                counts[owner] -= 1
            elif counts.pop(owner, None) is not None and not counts:
                del self._owners[key]

    def owners(self, key: K) -> tuple[str, ...]:
        """Return who holds `key`, longest holder first."""
        return tuple(self._owners.get(key, ()))

    def __len__(self) -> int:
        return len(self._owners)
