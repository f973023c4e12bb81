"""Remembering results by what they were made of, within bounds of number and of bytes.

`functools.lru_cache` bounds the number alone, and what comes from outside may be as long as a body: a few thousand of
those are the memory of the machine.
"""

from __future__ import annotations

from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: Characters of two texts together that are remembered: more than any address has that is one.
LONGEST: Final = 256


def remembering(most: int) -> Callable[[Callable[[str, str], T]], Callable[[str, str], T]]:
    """Remember the last `most` results of a function of two texts; of longer texts than LONGEST nothing is kept."""

    def decorate(function: Callable[[str, str], T]) -> Callable[[str, str], T]:
        remembered = lru_cache(maxsize=most)(function)

        @wraps(function)
        def call(one: str, other: str) -> T:
            return remembered(one, other) if len(one) + len(other) <= LONGEST else function(one, other)

        return call

    return decorate
