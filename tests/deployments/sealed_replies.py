"""A reply of the AI agent in the test of sealed deployments: it fails for good, asks for a person, or answers."""

from __future__ import annotations

from handlers.replies import CommunicationEntry, TurnEntry, handoff, replies_to


@replies_to(TurnEntry, CommunicationEntry)
async def answer(entry: TurnEntry | CommunicationEntry):
    """React to the words of the customer."""
    said = entry.data.communications if isinstance(entry, TurnEntry) else (entry.data.communication,)
    text = " ".join(one.text for one in said)
    if "fail" in text:
        raise ValueError("this reply fails for good")
    if "person" in text:
        return handoff(reason=f"reason: {text}", summary=f"summary: {text}", context={"said": [text]})
    return f"answer: {text}"
