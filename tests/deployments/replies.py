"""The AI agent's answers in tests of deployments: one for each message."""

from __future__ import annotations

from handlers.replies import CommunicationEntry, replies_to


@replies_to(CommunicationEntry)
async def answer(entry: CommunicationEntry) -> str:
    """Return the message's text, marked as an answer."""
    return f"re: {entry.data.communication.text}"
