"""Rules for classic (v1) events about the members, messages and conversations of a chat service.

The ledger of a classic conversation is kept under its `home`: its own SID, or the id of the v2 conversation that the
bridge opens for it. In a bridged conversation, departures and the closing are taken from the v2 callbacks only.
Events: https://www.twilio.com/docs/conversations-classic/conversations-webhooks
Bridge: https://www.twilio.com/docs/conversations/orchestrator/guides/classic-bridge
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.addresses import Channel
from router.core.classic.members import addresses_of, from_event, to_status
from router.core.events import Change
from router.core.judging.context import make_fact, note_our_side
from router.core.judging.resolved import announce
from router.core.judging.routes import Route
from router.core.judging.work import Memory, Preparation
from router.core.ledger.communications import from_classic, take_communication
from router.core.ledger.marker import Outcome, Result, fields_for
from router.core.resources import AGENT_TYPES, Conversation, Participant

if TYPE_CHECKING:
    from router.core.addresses import Address
    from router.core.events import ClassicReported
    from router.core.judging.context import AccountRules, Context
    from router.core.judging.work import Needed, Work
    from router.core.ledger.ledger import Ledger
    from router.core.ledger.marker import Marker
    from router.core.resolution.requests import Resolution, Resolved

#: In µs.
_SECOND: Final = 1_000_000
_REPORTED_BY_V2: Final = "v2 reports it for a bridged conversation"


def route(rules: AccountRules, event: ClassicReported) -> str | None:
    """Return the name of the route to the conversation's home; None where the service has no bridge."""
    return f"classic|{event.conversation_sid}" if rules.classic.is_bridged else None


def fields(rules: AccountRules, work: Work[ClassicReported]) -> Needed | None:
    """Return the home of the conversation and the ledger fields that the event needs; None if the home is unknown."""
    event = work.event
    home = work.route.conversation_id if work.route else None
    if home is None and _needs_home(rules, event):
        return None
    ids = [event.participant_sid] if event.participant_sid else []
    return home or event.conversation_sid, fields_for(ids, addresses_of(event))


def apply(context: Context, work: Work[ClassicReported]) -> Outcome | None:
    """Apply the event to the ledger of its home; return None if the API must be asked."""
    event, ledger = work.event, work.ledger
    if ledger is None:
        return None
    ledger.touch(context.now)
    ledger.put("classic_sid", event.conversation_sid)
    if event.kind == "message":
        return _apply_message(context, work, ledger)
    is_bridged = ledger.conversation_id != event.conversation_sid
    if event.kind == "participant":
        return _apply_bridged(context, work, ledger) if is_bridged else _apply_participant(context, event, ledger)
    if is_bridged:
        return Outcome(Result.IGNORED, _REPORTED_BY_V2)
    status = "CLOSED" if event.change is Change.REMOVED else to_status(event.state)
    return ledger.take_conversation(Conversation(id=ledger.conversation_id, status=status), event.version, event.cause)


def prepare(_: Context, work: Work[ClassicReported]) -> Preparation:
    """Return our address: in v2 it may appear as an UNKNOWN participant."""
    recipient = work.event.recipient
    return Preparation((recipient,) if recipient is not None else ())


def resolve(context: Context, work: Work[ClassicReported]) -> Resolution:
    """Find the participant: in v2 if the service is bridged, else the classic member."""
    is_over = work.ledger is not None and work.ledger.is_closed
    home = work.route.conversation_id if work.route is not None and not is_over else None
    return context.rules.classic.resolve(work.event, home=home, age=work.age(context.now))


def apply_resolved(context: Context, work: Work[ClassicReported], resolved: Resolved, ledger: Ledger) -> Outcome:
    """Announce the participant, then publish the message."""
    outcome = announce(context, work, resolved, ledger)
    if outcome.result is not Result.GONE:
        _publish(context, work.event, ledger)
    return outcome


def remember(rules: AccountRules, work: Work[ClassicReported], resolved: Resolved) -> Memory:
    """Return the route to the conversation's home."""
    name = route(rules, work.event)
    return Memory(name, Route(resolved.conversation_id, resolved.participant.id, "", work.begun)) if name else Memory()


def ends(event: ClassicReported) -> tuple[Address | None, Address | None]:
    """Return the member's address and the address of ours that it is bound to."""
    return event.customer, event.recipient


def opt_out(event: ClassicReported) -> str | None:
    """Return the keyword that Twilio has answered itself, if the event is a message that is one."""
    facts = (from_classic(event, author) for author in addresses_of(event)) if event.kind == "message" else ()
    return next((fact.content.opt_out for fact in facts if fact.content.opt_out), None)


def is_doubtful(context: Context, event: ClassicReported) -> bool:
    """Return whether the event is about a chat user who is not known to be ours."""
    chat = [address.key for address in addresses_of(event) if address.channel == Channel.CHAT]
    return event.customer is None and bool(chat) and not context.own.intersection(chat)


def _needs_home(rules: AccountRules, event: ClassicReported) -> bool:
    """Return whether the home of the conversation must be known before the event can be applied."""
    is_about_presence = event.kind != "conversation" and event.change is not Change.REMOVED
    return rules.classic.is_bridged and is_about_presence


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


def _apply_bridged(context: Context, work: Work[ClassicReported], ledger: Ledger) -> Outcome | None:
    """Apply an event about a member of a bridged conversation, where v2 has a participant of its own for it."""
    event = work.event
    if ledger.marker(event.participant_sid or "") is not None:  # v2 never added one: the member itself was announced
        return _apply_participant(context, event, ledger)
    if event.change is Change.REMOVED:
        return Outcome(Result.IGNORED, _REPORTED_BY_V2)
    return _judge_by_address(context, work, ledger)


def _apply_message(context: Context, work: Work[ClassicReported], ledger: Ledger) -> Outcome | None:
    event = work.event
    if not ledger.is_closed and _publish(context, event, ledger):
        return Outcome(Result.KNOWN, "its author is announced")
    marker = ledger.marker(event.participant_sid) if event.participant_sid else None
    if not ledger.is_closed and marker is not None and (outcome := _judge_by_marker(marker)) is not None:
        return outcome
    outcome = _judge_by_address(context, work, ledger)
    if outcome is None and event.participant_sid is None and (event.is_by_api or event.author is None):
        return Outcome(Result.IGNORED, "its author is no participant")
    return outcome


def _publish(context: Context, event: ClassicReported, ledger: Ledger) -> bool:
    """Publish a message; return False if its author is not announced, or if v2 reports it through the bridge."""
    if event.kind != "message" or ledger.conversation_id != event.conversation_sid:
        return False
    facts = (from_classic(event, author) for author in addresses_of(event))
    return any(take_communication(ledger, fact, text_limit=context.rules.text_limit) for fact in facts)


def _judge_by_marker(marker: Marker) -> Outcome | None:
    if not marker.is_present:
        return None
    if marker.target is not None:
        return Outcome(Result.KNOWN, "its author is announced")
    is_ours = marker.is_ours or marker.type in AGENT_TYPES
    return Outcome(Result.IGNORED, "our own side wrote it") if is_ours else None


def _begins_anew(work: Work[ClassicReported], ledger: Ledger) -> bool:
    """Return whether the event is later than the closing of the v2 side: the bridge then opens another conversation.

    Classic times may be whole seconds, so an event within the second of the closing counts as later. A redelivered one
    does not: it may have been applied before the closing, and then would be announced twice.
    """
    event = work.event
    is_bridged = ledger.conversation_id != event.conversation_sid
    closed_at = int((ledger.get("version") or "0").partition(".")[0])
    tolerance = 0 if work.entry.is_redelivered else _SECOND
    return is_bridged and event.change is Change.ADDED and event.version.updated_at + tolerance > closed_at


def _judge_by_address(context: Context, work: Work[ClassicReported], ledger: Ledger) -> Outcome | None:
    """Judge an event by the participants at its addresses; return None if none is known there."""
    event = work.event
    if ledger.is_closed:
        return None if _begins_anew(work, ledger) else Outcome(Result.STALE, "the conversation is closed")
    addresses = addresses_of(event)
    if any(ledger.announced_at(address) is not None for address in addresses):
        return Outcome(Result.KNOWN, "it is announced")
    if event.customer is None and any(address.key in context.own for address in addresses):
        return Outcome(Result.IGNORED, "our own side")
    return None
