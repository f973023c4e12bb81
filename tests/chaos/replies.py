"""The AI agent's answers in a chaos run: the id of the entry, so that every answer can be counted."""

from __future__ import annotations

from handlers.replies import CommunicationEntry, JoinedEntry, replies_to

#: How an answer begins; the entry's id follows.
MARK = "re: "


@replies_to(JoinedEntry, CommunicationEntry)
async def answer(entry: JoinedEntry | CommunicationEntry) -> str:
    """Return the id of the entry."""
    return MARK + entry.id
