"""The three sizes of every run: as the issue was seen, a shorter one for a first look, and one for the test suite."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

CaseT = TypeVar("CaseT")


class Size(StrEnum):
    """The size of a run.

    FULL uses the default settings and the numbers of the faults as they were seen. QUICK has fewer events. SHORT also
    has small windows and quick retries, so that a few hundred events are a siege; its times mean nothing.
    """

    FULL = "full"
    QUICK = "quick"
    SHORT = "short"

    def pick(self, full: int, quick: int, short: int) -> int:
        """Return the number for this size."""
        return {Size.FULL: full, Size.QUICK: quick, Size.SHORT: short}[self]

    def some(self, cases: Mapping[str, CaseT]) -> list[tuple[str, CaseT]]:
        """Return the cases of a run, by name; the test suite has time for the first one only."""
        return [*cases.items()][: self.pick(len(cases), len(cases), 1)]
