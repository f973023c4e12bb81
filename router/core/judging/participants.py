"""From an event and its conversation's ledger to an outcome: pure, so that a whole batch costs two round trips.

Every function returns an Outcome, or None where the ledger does not tell and the API must be asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from router.core.events import (
    CallReported,
    Change,
    ClassicReported,
    CommunicationReported,
    ConversationReported,
    MessageReceived,
    ParticipantReported,
    Version,
)
from router.core.ledger.calls import calls_of
from router.core.ledger.communications import apply_communication
from router.core.ledger.marker import Outcome, ParticipantFact, Result, fields_for
from router.core.policy import Decision, Facts, Policy
from router.core.resources import AGENT_TYPES, ParticipantType
from router.core.timestamps import to_microseconds

if TYPE_CHECKING:
    from router.core.addresses import Address
    from router.core.events import Cause
    from router.core.ledger.ledger import Ledger
    from router.core.resolution.requests import Resolved, Surroundings
    from router.core.resources import Participant

LedgerEvent = ParticipantReported | ConversationReported | CommunicationReported
#: Events whose participant a resolution finds.
FoundEvent = MessageReceived | CommunicationReported | ClassicReported | CallReported


@dataclass(frozen=True, slots=True)
class Context:
    """What an event is judged by besides its ledger: the policy, our own addresses (their keys), and now (µs).

    `text_limit` is how many characters of what is said are published.
    """

    policy: Policy
    own: frozenset[str]
    now: int
    text_limit: int = 4096


def decide_message(context: Context, message: MessageReceived, *, kind: str, configuration_id: str | None) -> Decision:
    """Return the policy's decision for the sender of a message, as a participant of type `kind`."""
    return context.policy.decide(
        Facts(
            source=message.cause.source,
            channel=message.customer.channel,
            participant_type=kind,
            customer=message.customer,
            recipient=message.recipient,
            configuration_id=configuration_id,
            account_id=message.account_id,
            now=_moment(context.now),
        )
    )


def ledger_fields(event: LedgerEvent) -> tuple[str, list[str]]:
    """Return the conversation of an event and the ledger's fields that its application reads."""
    if isinstance(event, ParticipantReported):
        addresses = [one.as_address() for one in event.participant.addresses]
        calls = calls_of(event.participant)
        return event.participant.conversation_id, fields_for([event.participant.id], addresses, calls)
    if isinstance(event, ConversationReported):
        return event.conversation.id, fields_for((), ())
    author = event.communication.author
    ids = [author.participant_id] if author and author.participant_id else []
    return event.communication.conversation_id, fields_for(ids, [author.as_address()] if author else ())


def apply_event(
    context: Context, event: LedgerEvent, ledger: Ledger, surroundings: Surroundings | None = None
) -> Outcome | None:
    """Apply what Twilio told us of a conversation to its ledger; `surroundings` where the API was asked for them."""
    ledger.touch(context.now, callbacks_seen=True)
    if isinstance(event, ParticipantReported):
        return _apply_participant(context, event, ledger, surroundings)
    if isinstance(event, ConversationReported):
        return ledger.take_conversation(event.conversation, event.version, event.cause)
    return apply_communication(event, ledger, text_limit=context.text_limit)


def _apply_participant(
    context: Context, event: ParticipantReported, ledger: Ledger, surroundings: Surroundings | None
) -> Outcome | None:
    if surroundings is not None:
        note_surroundings(surroundings, event.participant, ledger)
    fact = make_fact(context, event.participant, ledger, cause=event.cause, version=event.version)
    if event.change is Change.REMOVED:
        return ledger.take_removal(fact)
    if surroundings is None and _could_be_decided_better(context, event, ledger, fact):
        return None
    outcome = ledger.take_participant(fact)
    if outcome.result is Result.IGNORED:
        note_our_side(event.participant, ledger)
    return Outcome(Result.STALE, outcome.reason) if outcome.result is Result.GONE else outcome


def _could_be_decided_better(
    context: Context, event: ParticipantReported, ledger: Ledger, fact: ParticipantFact
) -> bool:
    """Tell whether a new participant's target hangs on something that the callback does not say."""
    if fact.is_ours or fact.address is None or ledger.is_closed or ledger.get("target") is not None:
        return False
    marker = ledger.marker(event.participant.id)
    if marker is not None and (not marker.is_present or fact.version < marker.version or marker.is_ours):
        return False
    return context.policy.is_open(
        _facts(context, event.participant, ledger, cause=event.cause, customer=fact.address, recipient=fact.recipient)
    )


def note_surroundings(surroundings: Surroundings, participant: Participant, ledger: Ledger) -> None:
    """Take over our side's address on each of the participant's channels, and the configuration."""
    if surroundings.conversation is not None:
        ledger.note_conversation(surroundings.conversation)
    channels = {address.channel for address in participant.addresses}
    for other in surroundings.participants:
        for address in other.addresses:
            is_our_side = other.type in AGENT_TYPES and other.type != ParticipantType.HUMAN_AGENT
            if is_our_side and address.channel in channels:
                ledger.note_recipient(address.as_address())


def note_our_side(participant: Participant, ledger: Ledger) -> None:
    """Remember the address of an agent as our side of the conversation on its channel."""
    if participant.type in {ParticipantType.AGENT, ParticipantType.AI_AGENT}:
        for address in participant.addresses:
            ledger.note_recipient(address.as_address())


def make_fact(
    context: Context,
    participant: Participant,
    ledger: Ledger,
    *,
    cause: Cause,
    version: Version,
    origin: str = "announced",
    address: Address | None = None,
    recipient: Address | None = None,
) -> ParticipantFact:
    """Return the fact that `participant` is in the conversation, with the policy's decision for it.

    Whoever is at one of our own addresses and not proven to be a customer is our own side.
    """
    shown = address or (participant.addresses[0].as_address() if participant.addresses else None)
    kind = participant.type or ParticipantType.UNKNOWN
    recipient = recipient or (ledger.recipient(shown.channel) if shown else None)
    is_ours = kind != ParticipantType.CUSTOMER and any(one.key in context.own for one in participant.addresses)
    decision = Decision(None, "it has no address yet")
    if shown is not None:
        facts = _facts(context, participant, ledger, cause=cause, customer=shown, recipient=recipient)
        decision = context.policy.decide(facts)
    return ParticipantFact(participant, version, cause, decision, origin, shown, recipient, is_ours)


def _facts(
    context: Context,
    participant: Participant,
    ledger: Ledger,
    *,
    cause: Cause,
    customer: Address,
    recipient: Address | None,
) -> Facts:
    return Facts(
        source=cause.source,
        channel=customer.channel,
        participant_type=participant.type or ParticipantType.UNKNOWN,
        customer=customer,
        recipient=recipient,
        configuration_id=ledger.get("configuration_id"),
        account_id=ledger.account_id,
        now=_moment(context.now),
    )


def apply_resolved(
    context: Context,
    resolved: Resolved,
    ledger: Ledger,
    *,
    event: FoundEvent,
    read_at: int,
) -> Outcome:
    """Apply what a resolution found to the ledger; `read_at` (µs) is when it began to read."""
    ledger.touch(context.now)
    if resolved.conversation is not None:
        ledger.note_conversation(resolved.conversation)
    if resolved.classic_sid is not None:
        ledger.put("classic_sid", resolved.classic_sid)
    customer, recipient = _ends(event)
    recipient = recipient or resolved.recipient
    if resolved.participant.type in AGENT_TYPES:
        recipient = None  # our own side wrote: who got it is the customer
    if recipient is not None:
        ledger.note_recipient(recipient)
    for ours in resolved.ours:
        fact = make_fact(context, ours, ledger, cause=event.cause, version=version_of(ours, read_at))
        ledger.take_participant(_as_ours(fact))
    return announce(
        context,
        resolved.participant,
        ledger,
        event=event,
        origin=resolved.origin,
        version=resolved.version or version_of(resolved.participant, read_at),
        ends=(customer, recipient),
    )


def announce(
    context: Context,
    participant: Participant,
    ledger: Ledger,
    *,
    event: FoundEvent,
    origin: str,
    version: Version,
    ends: tuple[Address | None, Address | None],
) -> Outcome:
    """Take in a participant that was found or created for an event; `ends` are its address there, and ours."""
    fact = make_fact(
        context,
        participant,
        ledger,
        cause=event.cause,
        version=version,
        origin=origin,
        address=ends[0],
        recipient=ends[1],
    )
    if isinstance(event, CallReported):
        fact = replace(fact, call_sid=event.call_sid)
    return ledger.take_participant(fact)


def resolved_fields(resolved: Resolved, event: FoundEvent) -> list[str]:
    """Return the ledger's fields that `apply_resolved` reads."""
    members = [member.participant for member in resolved.members if member.participant is not None]
    everyone = (resolved.participant, *resolved.ours, *members)
    addresses = [one.as_address() for participant in everyone for one in participant.addresses]
    addresses += [address for address in _ends(event) if address is not None]
    addresses += [member.address for member in resolved.members]
    calls = [sid for participant in everyone for sid in calls_of(participant)]
    calls += [event.call_sid] if isinstance(event, CallReported) else []
    return fields_for([participant.id for participant in everyone], addresses, calls)


def _ends(event: FoundEvent) -> tuple[Address | None, Address | None]:
    if isinstance(event, MessageReceived | ClassicReported | CallReported):
        return event.customer, event.recipient
    author = event.communication.author
    if author is None:
        return None, None
    ours = next((one for one in event.communication.recipients if one.channel == author.channel), None)
    return author.as_address(), ours.as_address() if ours else None


def _as_ours(fact: ParticipantFact) -> ParticipantFact:
    """Our side as it was created with, or found beside, a customer; a CUSTOMER there is nobody's side."""
    if fact.participant.type == ParticipantType.CUSTOMER:
        return fact
    return ParticipantFact(fact.participant, fact.version, fact.cause, fact.decision, is_ours=True)


def version_of(participant: Participant, read_at: int) -> Version:
    """Return how new a read is: as new as the resource, and told when we began to read."""
    updated = to_microseconds(participant.updated_at or participant.created_at)
    return Version(read_at if updated is None else updated, read_at)


def _moment(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1_000_000, tz=UTC)
