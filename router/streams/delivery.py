"""One delivery of a stream entry to a consumer, and what a consumer can say of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Final

from router.core.values import value


@dataclass(frozen=True, slots=True)
class StreamRef:
    """A stream that a consumer reads, with the partition that its scripts need."""

    partition: int
    key: str


@value
class Delivery:
    """An entry as raw fields. `is_redelivered` is True where another consumer, or we before, may have begun with it.

    `deaths` is how many processes died that may have died of it (router.streams.consuming.poison_isolation).
    """

    stream: StreamRef
    entry_id: str
    fields: dict[bytes, bytes] = field(repr=False)
    is_redelivered: bool = False
    deaths: int = 0

    def text(self, name: str) -> str:
        """Return a field as text, empty where it is missing; bytes that are not UTF-8 are shown as such."""
        return self.fields.get(name.encode(), b"").decode("utf-8", "backslashreplace")


def size_of(delivery: Delivery) -> int:
    """Return about how many bytes a delivery takes while it is held."""
    return sum(map(len, delivery.fields.values()))


@dataclass(frozen=True, slots=True)
class Done:
    """The delivery is finished and may be acknowledged."""


@dataclass(frozen=True, slots=True)
class Later:
    """Something must recover first: try again after `delay` seconds; does not count as a failure.

    The delay doubles with each try, up to `longest` seconds. `is_unsure` if the attempt may have had an effect that the
    next one must look for; `is_usual` if waiting here is nothing that anybody needs to hear of; `is_queued` if an
    earlier entry of its subject, which another process holds, comes first: a crowded window lets go of it.
    """

    reason: str
    delay: float = 1.0
    is_unsure: bool = False
    is_usual: bool = False
    is_queued: bool = False
    longest: float = inf


@dataclass(frozen=True, slots=True)
class Poison:
    """It can never succeed: a dead letter at once."""

    reason: str


Verdict = Done | Later | Poison


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings of the same names; durations in seconds."""

    window: int = 500
    batch: int = 200
    max_deliveries: int = 5
    dead_letter_budget: float = 0.5
    retry_delay: float = 1.0
    heartbeat_ttl: float = 2.0
    grace: float = 10.0


#: The shortest and the longest pause between two tries of one entry.
SHORTEST_PAUSE: Final = 0.01


LONGEST_PAUSE: Final = 30.0


#: Doublings that make any pause the longest.
_MOST: Final = 10


def pause_after_failure(first: float, tries: int) -> float:
    """Return the pause after a failed try: `first`, doubled with each of the `tries` before."""
    return min(first * 2.0 ** min(tries, _MOST), LONGEST_PAUSE)


def pause_of(later: Later, tries: int) -> float:
    """Return the pause that a verdict asks for, doubled with each of the `tries` before; never shorter than asked."""
    first = max(later.delay, SHORTEST_PAUSE)
    return max(first, min(first * 2.0 ** min(tries, _MOST), LONGEST_PAUSE, later.longest))
