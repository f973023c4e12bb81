"""One delivery of a stream entry to a consumer, the verdicts on it, and the pauses between attempts."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Final

from router.core.backoff import backoff
from router.core.values import Value


class StreamRef(Value):
    """A stream that a consumer reads, and its partition, which the scripts need."""

    partition: int
    key: str


class Delivery(Value):
    """An entry as raw fields.

    `is_redelivered`: another consumer, or this one earlier, may have begun to work on it. `crashes`: processes that
    died with the entry in flight (router.streams.consuming.poison_isolation). Of an entry that was parked: `tries`, the
    attempts that did not succeed; `waiting_since` (ms since 1970, else 0); `is_kept`: the dead-letter budget keeps it.
    """

    stream: StreamRef
    entry_id: str
    fields: dict[bytes, bytes]
    is_redelivered: bool = False
    crashes: int = 0
    tries: int = 0
    waiting_since: int = 0
    is_kept: bool = False

    def __repr__(self) -> str:
        return f"Delivery({self.stream!r}, {self.entry_id!r})"  # the fields hold bodies and addresses

    def text(self, name: str) -> str:
        """Return a field as text, empty if it is missing; bytes that are not UTF-8 are escaped."""
        return self.fields.get(name.encode(), b"").decode("utf-8", "backslashreplace")


def size_of(delivery: Delivery) -> int:
    """Return the approximate number of bytes that a delivery takes while it is held."""
    return sum(map(len, delivery.fields.values()))


@dataclass(frozen=True, slots=True)
class Done:
    """The delivery is finished and may be acknowledged; the commands `along` go first, in the same round trip."""

    along: tuple[tuple[str, ...], ...] = field(default=(), compare=False)


class Later(Value):
    """Something must recover first: try again after `delay` seconds. This does not count as a failure.

    The delay doubles with each try, up to `longest` seconds. `is_unsure`: the attempt may have had an effect that the
    next one must look for. `is_usual`: the wait is expected and not logged. `is_queued`: an earlier entry of the
    subject, which another process holds, comes first; a window at capacity releases such an entry.
    """

    reason: str
    delay: float = 1.0
    is_unsure: bool = False
    is_usual: bool = False
    is_queued: bool = False
    longest: float = inf


class Poison(Value):
    """The delivery can never succeed: it becomes a dead letter at once."""

    reason: str


Verdict = Done | Later | Poison


@dataclass(frozen=True, slots=True)
class Limits:
    """A consumer's limits, named like the settings; durations are in seconds.

    `api_calls`: calls to the API of one account at once (ROUTER_API_CONCURRENCY).
    """

    window: int = 500
    api_calls: int = 256
    batch: int = 200
    max_deliveries: int = 5
    dead_letter_budget: float = 0.5
    retry_delay: float = 1.0
    heartbeat_ttl: float = 2.0
    grace: float = 10.0


#: Seconds: the shortest and the longest pause between two attempts at one entry.
SHORTEST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 30.0


def pause_of(later: Later, tries: int) -> float:
    """Return the pause that a verdict asks for, doubled for each of the `tries` before; never shorter than asked."""
    first = max(later.delay, SHORTEST_PAUSE)
    return max(first, backoff(first, tries, ceiling=min(LONGEST_PAUSE, later.longest)))
