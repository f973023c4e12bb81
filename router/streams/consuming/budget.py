"""The dead-letter budget: when nearly everything fails, the fault is ours, and giving up would bury the world.

A single bad entry is given up. But after a broken deployment, or with a wrong configuration id, every entry fails, and
each dead letter is one more that somebody has to put back. So at most `share` of what ended within the last WINDOW
seconds, of at least LEAST entries, may be dead letters. Past that the budget is *spent*: what would be given up stays
pending, is tried again after a pause (those tries are the probes), and takes no place from others until so much is
held that reading stops. It stays spent, however quiet it gets, until successes have brought the share of failed tries
within the window down again; what still fails then is given up as usual.

Known gap: each process has a budget of its own and begins with a fresh one, so that LEAST - 1 entries may be given up
after each start.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from router.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds that an end counts for.
WINDOW: Final = 60
#: Ends below which a share says nothing.
LEAST: Final = 20


@dataclass(slots=True)
class _Second:
    """What ended within one second."""

    at: int
    done: int = 0
    failed: int = 0


class Budget:
    """The budget of one consumer of `group`; a `share` of 1 is without end. `clock` is in seconds."""

    def __init__(self, share: float, *, group: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._group = group
        self._clock = clock
        self._seconds: deque[_Second] = deque()
        self._is_spent = False

    @property
    def is_spent(self) -> bool:
        """Tell whether nothing may be given up just now."""
        return self._is_spent

    def spend(self) -> bool:
        """Tell whether an entry may be given up, which counts; says so in the log when the budget is spent by it."""
        self._now().failed += 1
        done, failed = self._counts()
        if not self._is_spent and done + failed >= LEAST and failed > self._share * (done + failed):
            self._is_spent = True
            log("budget.spent", level="error", group=self._group, failed=failed, ended=done + failed, share=self._share)
        return not self._is_spent

    def note_done(self, number: int) -> None:
        """Count entries that succeeded; while the budget is spent they may bring it back, which the log tells."""
        self._now().done += number
        if self._is_spent:
            done, failed = self._counts()
            if failed <= self._share * (done + failed):
                self._is_spent = False
                log("budget.recovered", group=self._group, failed=failed, ended=done + failed, share=self._share)

    def _now(self) -> _Second:
        at = int(self._clock())
        while self._seconds and self._seconds[0].at <= at - WINDOW:
            self._seconds.popleft()
        if not self._seconds or self._seconds[-1].at != at:
            self._seconds.append(_Second(at))
        return self._seconds[-1]

    def _counts(self) -> tuple[int, int]:
        return sum(one.done for one in self._seconds), sum(one.failed for one in self._seconds)
