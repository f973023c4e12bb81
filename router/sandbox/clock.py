"""The sandbox's time: the given clock plus the time by which the admin API has advanced it.

Whole microseconds since 1970, as in core.timestamps. A `moment` is the time that stamps and orders a record: moments
are strictly increasing, so that no two records share one and a page token can name a place between them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal

from router.core.timestamps import to_text

#: Returns the current time in microseconds since 1970.
Clock = Callable[[], int]

SECOND: Final = 1_000_000
#: The year 9000; timers of a century can still be written then.
_LATEST: Final = 221_845_392_000 * SECOND
_FRACTION_START: Final = 19  # the length of `2026-01-01T00:00:00`


def system_clock() -> int:
    """Return the time of this machine."""
    return time.time_ns() // 1000


class VirtualClock:
    """A clock that can be advanced, never turned back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = 0
        self._last = 0

    @property
    def position(self) -> tuple[int, int]:
        """How far it was advanced, and its last moment (µs)."""
        return self._offset, self._last

    @position.setter
    def position(self, position: tuple[int, int]) -> None:
        """Go on from a position of an earlier run."""
        self._offset, self._last = position

    def now(self) -> int:
        """Return the sandbox's time."""
        return self._clock() + self._offset

    def moment(self) -> int:
        """Return a time later than every moment before."""
        self._last = max(self._last + 1, self.now())
        return self._last

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass; raises ValueError if that is after the year 9000, since later times cannot be written."""
        offset = self._offset + round(seconds * SECOND)
        if self._clock() + offset > _LATEST:
            raise ValueError("the clock goes to the year 9000")
        self._offset = offset


def format_time(micros: int, digits: Literal[0, 3, 9]) -> str:
    """Return `micros` in ISO 8601 with 0, 3 or 9 fraction digits: the API's sources show all three."""
    text = to_text(micros)
    if digits == 0:
        return f"{text[:_FRACTION_START]}Z"
    return text if digits == 3 else f"{text[:_FRACTION_START]}.{micros % SECOND:06d}000Z"  # noqa: PLR2004 # digits
