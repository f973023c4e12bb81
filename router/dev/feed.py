"""The feed of `dev`: happenings from streams and logs, printed in the order in which they happened.

What happened at one moment is read at different ones: a log in steps, a stream at once, an answer after its question.
So each happening waits a little while for earlier ones. A trouble that is reported again and again is printed once in a
while, with the number of reports.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from router.dev.happening import LineKind
from router.process.terminal import show_styled

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.dev.happening import Happening
    from router.dev.known import Known
    from router.dev.layout import LineLayout

#: Seconds that a happening waits for earlier ones.
SETTLING: Final = 0.4
#: Seconds between two looks at what has waited long enough.
STEP: Final = 0.1
#: Seconds in which a trouble is printed once.
QUIET: Final = 10.0


class _Slot:
    """A happening that waits, and when it came."""

    def __init__(self, happening: Happening, arrived: float) -> None:
        self.happening = happening
        self.arrived = arrived


class Feed:
    """Merges happenings by time and prints them; `clock` is in seconds and never goes back."""

    def __init__(self, layout: LineLayout, known: Known, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._layout = layout
        self._known = known
        self._clock = clock
        self._heap: list[tuple[int, int, _Slot]] = []
        self._by_name: dict[str, _Slot] = {}
        self._count = 0
        self._troubles: dict[tuple[str, str], tuple[float, int]] = {}

    def add(self, happening: Happening) -> None:
        """Take a happening, which joins one with the same name that still waits."""
        if happening.kind is LineKind.TROUBLE and not happening.same:
            happening = replace(happening, same=f"trouble {happening.who} {happening.text}")
        waiting = self._by_name.get(happening.same)
        if waiting is not None:
            waiting.happening = waiting.happening.with_other(happening)
            return
        slot = _Slot(happening, self._clock())
        self._count += 1
        heapq.heappush(self._heap, (happening.at, self._count, slot))
        if happening.same:
            self._by_name[happening.same] = slot

    async def run(self) -> None:
        """Print what has settled, until canceled. Raises OutputLostError."""
        while True:
            await asyncio.sleep(STEP)
            self.flush(self._clock() - SETTLING)

    def flush(self, arrived_by: float | None = None) -> None:
        """Print all that had come by a time, and what happened before that; without a time, everything."""
        latest = max(
            (at for at, _, slot in self._heap if arrived_by is None or slot.arrived <= arrived_by), default=None
        )
        lines = []
        while latest is not None and self._heap and self._heap[0][0] <= latest:
            happening = heapq.heappop(self._heap)[2].happening
            self._by_name.pop(happening.same, None)
            if (ready := self._without_repetition(happening)) is not None:
                lines += self._layout.lines_of(ready, self._known.customer_in(ready))
        if lines:
            show_styled(lines)

    def _without_repetition(self, happening: Happening) -> Happening | None:
        """Return a happening to print; None for a trouble that was printed a moment ago."""
        if happening.kind is not LineKind.TROUBLE:
            return happening
        name, now = (happening.who, happening.text), self._clock()
        printed_at, left_out = self._troubles.pop(name, (now - QUIET, 0))
        if now - printed_at < QUIET:
            self._troubles[name] = (printed_at, left_out + happening.times)
            return None
        self._troubles = {each: state for each, state in self._troubles.items() if now - state[0] < QUIET}
        self._troubles[name] = (now, 0)
        return replace(happening, times=happening.times + left_out)
