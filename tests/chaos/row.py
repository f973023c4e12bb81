"""One row of the table: the number that was expected, the number found, and what does not fit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table; `wrong` lists what does not fit, `note` has details of a row that is right."""

    name: str
    expected: int
    found: int
    wrong: tuple[str, ...] = ()
    note: str = ""

    @property
    def is_true(self) -> bool:
        """Whether all that was expected was found, and nothing else."""
        return self.expected == self.found and not self.wrong
