"""Rows of the table of event types: what becomes of each one.

Each parser exports its rows as `ROWS`, next to the code that they describe; router.inbound.table collects them.
"""

from __future__ import annotations

from typing import Final

from router.core.values import Value

#: Types of entries (core.entries).
JOINED: Final = "participant.joined"
UPDATED: Final = "participant.updated"
LEFT: Final = "participant.left"
CLOSED: Final = "conversation.closed"
SAID: Final = "communication.received"
REQUESTED: Final = "handoff.requested"
#: The event changes what is remembered, and nothing is published.
NOTED: Final = ("noted",)
#: The event is disregarded by name; log and metrics give the reason.
IGNORED: Final[tuple[str, ...]] = ()


class EventTypeRow(Value):
    """One event type: the types of entries that it can lead to, NOTED or IGNORED.

    `because` is the parser's reason for an ignored event, else a condition or an explanation. `kind` distinguishes rows
    of one event type. A part of `event_type` in angle brackets stands for any word.
    """

    event_type: str
    becomes: tuple[str, ...]
    because: str = ""
    kind: str = ""
