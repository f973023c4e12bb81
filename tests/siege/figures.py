"""Figures of a run: undisturbed and disturbed side by side, with the target, and whether it is met."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.benchmarks.report import table

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What stands where nothing was measured.
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of a run's table; `is_met` is None for a row that is shown and not judged.

    `is_clock`: a time or a size of memory, which depends on the machine. `make siege` judges it, the suite does not.
    """

    what: str
    undisturbed: str
    disturbed: str
    target: str = ""
    is_met: bool | None = None
    is_clock: bool = False

    @property
    def verdict(self) -> str:
        """`ok`, `FAILED`, or nothing for a row that is not judged."""
        return "" if self.is_met is None else "ok" if self.is_met else "FAILED"


def exactly(what: str, undisturbed: int | None, disturbed: int, expected: int) -> Figure:
    """Return the figure of a number that must be `expected`."""
    return Figure(what, shown(undisturbed), shown(disturbed), shown(expected), disturbed == expected)


def at_least(what: str, undisturbed: int | None, disturbed: int, least: int) -> Figure:
    """Return the figure of a number that must be `least` or more."""
    return Figure(what, shown(undisturbed), shown(disturbed), f">= {shown(least)}", disturbed >= least)


def at_most(what: str, undisturbed: float | None, disturbed: float | None, most: float, target: str = "") -> Figure:
    """Return the figure of a time or size that must be `most` or less; None if it could not be measured."""
    is_met = disturbed is not None and disturbed <= most
    return Figure(what, shown(undisturbed), shown(disturbed), target or f"<= {shown(most)}", is_met, is_clock=True)


def shown(value: float | None) -> str:
    """Return a number as text."""
    if value is None:
        return NOTHING
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a run that is over, and the seconds that it took."""

    name: str
    title: str
    figures: tuple[Figure, ...]
    seconds: float = 0.0

    @property
    def failures(self) -> list[Figure]:
        """The figures whose target is not met."""
        return [one for one in self.figures if one.is_met is False]

    def render(self) -> str:
        """Return the table as text."""
        rows = [["", "undisturbed", "disturbed", "target", ""]]
        rows += [[one.what, one.undisturbed, one.disturbed, one.target, one.verdict] for one in self.figures]
        head = f"{self.name}: {self.title} ({self.seconds:.0f} s)"
        return "\n".join([f"\n{head}", *(f"  {line}" for line in table(rows, last_is_text=True))])


def summarize(reports: Sequence[Report]) -> str:
    """Return one line for each run: ok, or what failed."""
    width = max((len(one.name) for one in reports), default=0)
    lines = []
    for one in reports:
        failed = ", ".join(figure.what for figure in one.failures)
        lines.append(f"{one.name.ljust(width)}  {f'FAILED: {failed}' if failed else 'ok'}")
    return "\n".join(lines)
