"""Room for bodies that are still on their way: nothing about them is proved yet, and each waits in memory.

A webhook is small, or comes whole with its head; whoever sends many large bodies slowly means harm. Those share a room
of bounded size, and one that finds no place is told to come again (503). Small ones need none.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from router.core.errors import NotDurableError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes of a body that needs no place.
SMALL: Final = 16 * 1024
#: Bytes of all others at once, in one process.
LARGE_AT_ONCE: Final = 128 * 1_048_576
#: Mails at once: each keeps up to about a megabyte while it is read, however large it is.
MAILS_AT_ONCE: Final = 200


class InFlightBytes:
    """Places for so many bytes, or so many of whatever is counted; of one event loop."""

    def __init__(self, size: int, *, small: int = 0) -> None:
        self._free = size
        self._small = small

    @contextmanager
    def place(self, size: int) -> Iterator[None]:
        """Keep a place while the block runs; raises NotDurableError where there is none."""
        taken = 0 if size <= self._small else size
        if taken > self._free:
            raise NotDurableError("too many bodies are on their way at once")
        self._free -= taken
        try:
            yield
        finally:
            self._free += taken
