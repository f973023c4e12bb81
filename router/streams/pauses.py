"""How long an entry rests between two tries; all in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from router.streams.delivery import Later

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
