"""Rows of the table of sources: what becomes of one event type.

Each parser exports its own as `ROWS`, next to the code that makes them true; router.inbound.table collects them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Types of entries (core.entries).
JOINED: Final = "participant.joined"
UPDATED: Final = "participant.updated"
LEFT: Final = "participant.left"
CLOSED: Final = "conversation.closed"
SAID: Final = "communication.received"
#: It is remembered, and nothing is published.
NOTED: Final = ("noted",)
#: It is disregarded by name: log and metrics say so, with the reason.
IGNORED: Final[tuple[str, ...]] = ()


@dataclass(frozen=True, slots=True)
class EventTypeRow:
    """What becomes of an event type: the types of entries that it can lead to, NOTED or IGNORED.

    `because` is the parser's reason where it is ignored, else when or why. `kind` tells apart what has one event type.
    A part in angle brackets stands for any word.
    """

    event_type: str
    becomes: tuple[str, ...]
    because: str = ""
    kind: str = ""

    @property
    def is_pattern(self) -> bool:
        """Tell whether it stands for several event types, whose reasons go on with the word that differs."""
        return "<" in self.event_type
