"""A cache for functions of two texts, bounded by entries and by bytes.

`functools.lru_cache` bounds the number of entries only. Texts from outside may be as long as a request body, and a few
thousand of those would fill the memory.
"""

from __future__ import annotations

from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: Longer arguments (both texts together) are not cached; no real address is that long.
LONGEST: Final = 256


def remembering(most: int) -> Callable[[Callable[[str, str], T]], Callable[[str, str], T]]:
    """Cache the last `most` results of a function of two texts, except for texts longer than LONGEST."""

    def decorate(function: Callable[[str, str], T]) -> Callable[[str, str], T]:
        remembered = lru_cache(maxsize=most)(function)

        @wraps(function)
        def call(one: str, other: str) -> T:
            # One addition: 4 steps less, 5 times for a known customer's message and 22 times for a new one's.
            return remembered(one, other) if len(one + other) <= LONGEST else function(one, other)

        return call

    return decorate
