"""What participants say, as events tell it: published for the holder where its author is announced; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.events import CommunicationReported, MessageReceived
from router.core.ledger.communications import from_communication, from_message, take_communication
from router.core.ledger.marker import Outcome, Result
from router.core.resources import AGENT_TYPES

if TYPE_CHECKING:
    from router.core.judging.participants import Context
    from router.core.ledger.ledger import Ledger


def apply_communication(context: Context, event: CommunicationReported, ledger: Ledger) -> Outcome | None:
    """Apply a communication of the API to its ledger; None if its author is not known yet."""
    fact = from_communication(event)
    if ledger.is_closed:
        return Outcome(Result.STALE, "the conversation is closed")
    if fact is None:
        return Outcome(Result.IGNORED, "a communication without author")
    if take_communication(ledger, fact, text_limit=context.text_limit):
        return Outcome(Result.KNOWN, "its author is announced")
    marker = ledger.marker(fact.author_id) if fact.author_id else None
    if marker is not None and marker.is_present and (marker.is_ours or marker.type in AGENT_TYPES):
        return Outcome(Result.IGNORED, "our own side wrote it")
    return None


def apply_message(context: Context, message: MessageReceived, ledger: Ledger) -> Outcome | None:
    """Apply a message to the ledger of its conversation, which is open; None if its sender is not announced there."""
    if not take_communication(ledger, from_message(message), text_limit=context.text_limit):
        return None
    ledger.touch(context.now)
    return Outcome(Result.KNOWN, "announced in its conversation")


def apply_content(context: Context, event: MessageReceived | CommunicationReported, ledger: Ledger) -> None:
    """Publish what an event says, where its author is announced by now."""
    fact = from_message(event) if isinstance(event, MessageReceived) else from_communication(event)
    if fact is not None:
        take_communication(ledger, fact, text_limit=context.text_limit)
