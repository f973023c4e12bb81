"""Back-off: how long to wait before something is tried again. Pure: the caller brings the count and the jitter."""

from __future__ import annotations

from math import inf
from typing import Final

#: The number of doublings after which the delay stays the same.
MAX_DOUBLINGS: Final = 10


def backoff(first: float, tries: int, *, ceiling: float = inf, jitter: float = 1.0) -> float:
    """Return the seconds before the next try: `first`, doubled with each of the `tries` before it, up to `ceiling`.

    `jitter`, usually a random number up to 1, multiplies the result, so that not all callers come back at once.
    """
    return jitter * min(ceiling, first * 2.0 ** min(tries, MAX_DOUBLINGS))
