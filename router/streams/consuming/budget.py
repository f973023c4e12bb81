"""The dead-letter budget: when most entries fail, the fault is in the deployment, so dead-lettering stops.

A single bad entry becomes a dead letter. But after a broken deployment, or with a wrong configuration id, every entry
fails, and each dead letter must be replayed by somebody. So of the entries that ended within the last WINDOW seconds,
if they are at least MIN_ENDED, at most `share` may be dead letters. Beyond that the budget is *spent*: entries that
fail are kept. A kept entry is parked and tried again with growing pauses; it counts once, when it is first kept,
however often it fails afterwards. The budget recovers once successes have brought the share of failures
within the window down again. From then on kept entries that still fail become dead letters too, as many as the share
allows.

Known gap: each process has its own budget and starts with a fresh one, so that MIN_ENDED - 1 entries may become dead
letters after each start. Entries that were kept before do not use that allowance.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from router.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds for which an ended entry counts.
WINDOW: Final = 60
#: Ended entries below which a share is not significant.
MIN_ENDED: Final = 20


@dataclass(slots=True)
class _Second:
    """Entries that ended within one second; `letters` of them became dead letters."""

    at: int
    done: int = 0
    failed: int = 0
    letters: int = 0


class Budget:
    """The budget of one consumer of `group`; `share=1` disables it. `clock` returns seconds."""

    def __init__(self, share: float, *, group: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._group = group
        self._clock = clock
        self._seconds: deque[_Second] = deque()
        self._is_spent = False

    def spend(self, *, is_kept: bool = False) -> bool:
        """Count a failure and return whether it may become a dead letter; logs when that spends the budget.

        An entry that `is_kept` already was counted as a failure then, and is not counted again.
        """
        if is_kept:
            return self._spend_kept()
        self._now().failed += 1
        done, failed = self._counts()
        if not self._is_spent and done + failed >= MIN_ENDED and failed > self._share * (done + failed):
            self._is_spent = True
            log("budget.spent", level="error", group=self._group, failed=failed, ended=done + failed, share=self._share)
        self._now().letters += not self._is_spent
        return not self._is_spent

    def _spend_kept(self) -> bool:
        now = self._now()
        done, _ = self._counts()
        letters = 1 + sum(one.letters for one in self._seconds)
        is_over = not self._is_spent and letters <= self._share * (done + letters)
        now.letters += is_over
        return is_over

    def note_done(self, number: int) -> None:
        """Count successes; a spent budget may recover by them, which is logged."""
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
