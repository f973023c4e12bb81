"""Rules for classic (v1) events: from an event and the ledger of its home to an outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.addresses import Channel
from router.core.classic.members import addresses_of, from_event, to_status
from router.core.events import Change
from router.core.judging.participants import make_fact, note_our_side
from router.core.ledger.communications import from_classic, take_communication
from router.core.ledger.marker import Outcome, Result, fields_for
from router.core.resources import AGENT_TYPES, Conversation, Participant

if TYPE_CHECKING:
    from router.core.events import ClassicReported
    from router.core.judging.participants import Context
    from router.core.ledger.ledger import Ledger
    from router.core.ledger.marker import Marker


#: In µs.
_SECOND: Final = 1_000_000


def home_name(event: ClassicReported) -> str:
    """Return the name of the route that leads to the home of the event's conversation."""
    return f"classic|{event.conversation_sid}"


def classic_fields(event: ClassicReported, home: str | None) -> tuple[str, list[str]]:
    """Return the conversation whose ledger an event needs, and the fields that its application reads."""
    ids = [event.participant_sid] if event.participant_sid else []
    return home or event.conversation_sid, fields_for(ids, addresses_of(event))


def is_chat(event: ClassicReported, own: frozenset[str]) -> bool:
    """Tell whether an event is about a chat user who is not known as ours."""
    chat = [address.key for address in addresses_of(event) if address.channel == Channel.CHAT]
    return event.customer is None and bool(chat) and not own.intersection(chat)


def apply_classic(context: Context, event: ClassicReported, ledger: Ledger) -> Outcome | None:
    """Apply what Twilio told us of a classic conversation to the ledger of its home; None where the API must tell."""
    ledger.touch(context.now)
    ledger.put("classic_sid", event.conversation_sid)
    if event.kind == "message":
        return _apply_message(context, event, ledger)
    is_bridged = ledger.conversation_id != event.conversation_sid
    if event.kind == "participant":
        apply = _apply_bridged if is_bridged else _apply_participant
        return apply(context, event, ledger)
    if is_bridged:
        return Outcome(Result.IGNORED, "the bridged conversation tells of itself")
    status = "CLOSED" if event.change is Change.REMOVED else to_status(event.state)
    return ledger.take_conversation(Conversation(id=ledger.conversation_id, status=status), event.version, event.cause)


def _apply_participant(context: Context, event: ClassicReported, ledger: Ledger) -> Outcome | None:
    member = from_event(event)
    participant = member.participant if member else Participant(id=event.participant_sid or "")
    if event.recipient is not None and event.change is not Change.REMOVED:
        ledger.note_recipient(event.recipient)
    fact = make_fact(context, participant, ledger, cause=event.cause, version=event.version, recipient=event.recipient)
    if event.change is Change.REMOVED:
        return ledger.take_removal(fact)
    if member is None:
        return None
    outcome = ledger.take_participant(fact)
    if outcome.result is Result.IGNORED:
        note_our_side(participant, ledger)
    return Outcome(Result.STALE, outcome.reason) if outcome.result is Result.GONE else outcome


def _apply_bridged(context: Context, event: ClassicReported, ledger: Ledger) -> Outcome | None:
    """Apply an event about a member of a bridged conversation: v2 has a participant of its own for it."""
    if ledger.marker(event.participant_sid or "") is not None:  # v2 never had one: the member itself was taken
        return _apply_participant(context, event, ledger)
    if event.change is Change.REMOVED:
        return Outcome(Result.IGNORED, "the bridged conversation tells of itself")
    return _judge_by_address(context, event, ledger)


def _apply_message(context: Context, event: ClassicReported, ledger: Ledger) -> Outcome | None:
    if not ledger.is_closed and say(context, event, ledger):
        return Outcome(Result.KNOWN, "its author is announced")
    marker = ledger.marker(event.participant_sid) if event.participant_sid else None
    if not ledger.is_closed and marker is not None and (outcome := _judge_by_marker(marker)) is not None:
        return outcome
    outcome = _judge_by_address(context, event, ledger)
    if outcome is None and event.participant_sid is None and (event.is_by_api or event.author is None):
        return Outcome(Result.IGNORED, "written by nobody in the conversation")
    return outcome


def say(context: Context, event: ClassicReported, ledger: Ledger) -> bool:
    """Publish what a message says; False if nobody announced wrote it, or v2 tells of it, which the bridge told too."""
    if event.kind != "message" or ledger.conversation_id != event.conversation_sid:
        return False
    facts = (from_classic(event, author) for author in addresses_of(event))
    return any(take_communication(ledger, fact, text_limit=context.text_limit) for fact in facts)


def _judge_by_marker(marker: Marker) -> Outcome | None:
    if not marker.is_present:
        return None
    if marker.target is not None:
        return Outcome(Result.KNOWN, "its author is announced")
    is_ours = marker.is_ours or marker.type in AGENT_TYPES
    return Outcome(Result.IGNORED, "our own side wrote it") if is_ours else None


def _begins_anew(event: ClassicReported, ledger: Ledger) -> bool:
    """Tell whether it happened after the v2 side had closed: the classic conversation goes on, as another one of v2.

    Classic times may have whole seconds: what may have been in the second of the closing counts as later.
    """
    is_bridged = ledger.conversation_id != event.conversation_sid
    closed_at = int((ledger.get("version") or "0").partition(".")[0])
    return is_bridged and event.change is Change.ADDED and event.version.updated_at + _SECOND > closed_at


def _judge_by_address(context: Context, event: ClassicReported, ledger: Ledger) -> Outcome | None:
    """Judge by who is at the event's addresses; None where nobody is known there."""
    if ledger.is_closed:
        return None if _begins_anew(event, ledger) else Outcome(Result.STALE, "the conversation is closed")
    addresses = addresses_of(event)
    if any(ledger.announced_at(address) is not None for address in addresses):
        return Outcome(Result.KNOWN, "it is announced")
    if event.customer is None and any(address.key in context.own for address in addresses):
        return Outcome(Result.IGNORED, "our own side")
    return None
