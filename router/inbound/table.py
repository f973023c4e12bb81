"""The table of event types: what becomes of each one, for every source. Tests compare it with docs/event-types.md.

Not listed: entries about changes that the worker detects while it resolves an event, such as a closing whose callback
was lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.events import SourceName
from router.inbound import conversations, event_streams, messaging, voice
from router.inbound.classic import parser as classic
from router.inbound.email import parser as email
from router.inbound.rows import NOTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router.inbound.rows import EventTypeRow

#: The rows of each source, in the order in which its parser lists them.
ROWS: Final[dict[SourceName, tuple[EventTypeRow, ...]]] = {
    SourceName.MESSAGING: messaging.ROWS,
    SourceName.VOICE: voice.ROWS,
    SourceName.CONVERSATIONS: conversations.ROWS,
    SourceName.CLASSIC: classic.ROWS,
    SourceName.EVENT_STREAMS: event_streams.ROWS,
    SourceName.EMAIL: email.ROWS,
}


def to_markdown() -> str:
    """Return the table as docs/event-types.md shows it."""
    return "\n".join(("| source | event type | what becomes of it |", "|---|---|---|", *_lines()))


def _lines() -> Iterator[str]:
    for source, rows in ROWS.items():
        for row in rows:
            kind = f" ({row.kind})" if row.kind else ""
            yield f"| {source} | `{row.event_type}`{kind} | {_outcome(row)} |"


def _outcome(row: EventTypeRow) -> str:
    if not row.becomes:
        return f"ignored, because: {row.because}"
    if row.becomes == NOTED:
        return f"noted: {row.because}"
    entries = ", ".join(f"`{entry}`" for entry in row.becomes)
    return f"{entries}, {row.because}" if row.because else entries
