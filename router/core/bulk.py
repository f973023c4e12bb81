"""Acting on many entries: in steps of bounded size, with the progress after each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    #: Called after each step.
    OnProgress = Callable[["BulkProgress"], None]
    #: Called with the outcome of each entry.
    OnOutcome = Callable[["EntryOutcome"], None]


@dataclass(frozen=True, slots=True)
class EntryOutcome:
    """The outcome for one entry; its text is for people, without private values. Without `is_done` it is as before.

    `kind` sums up outcomes whose texts differ; it quotes nothing. Empty: the text is one of a few.
    """

    name: str
    is_done: bool
    text: str
    kind: str = ""


@dataclass(slots=True)
class BulkProgress:
    """How far a bulk action has come: of `total` entries so many were looked at, done, or tried in vain.

    `total` is the number when it began; entries that do not match are looked at only.
    """

    total: int
    looked_at: int = 0
    done: int = 0
    failed: int = 0

    def note(self, outcome: EntryOutcome) -> None:
        """Count an outcome."""
        self.done += outcome.is_done
        self.failed += not outcome.is_done


def ignore(_: object) -> None:
    """Do nothing with an outcome or a progress."""
