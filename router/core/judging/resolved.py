"""Applies the result of a resolution to the ledger of its conversation: our side first, then the participant. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.events import STRANGER, Person
from router.core.judging.context import make_fact, version_of
from router.core.ledger.calls import calls_of
from router.core.ledger.marker import Outcome, ParticipantFact, fields_for
from router.core.resources import AGENT_TYPES, ParticipantType

if TYPE_CHECKING:
    from router.core.events import Version
    from router.core.judging.context import Context
    from router.core.judging.work import AnyWork
    from router.core.ledger.ledger import Ledger
    from router.core.resolution.requests import Resolved


def announce(
    context: Context, work: AnyWork, resolved: Resolved, ledger: Ledger, *, person: Person = STRANGER
) -> Outcome:
    """Announce the participant that was found or created for an event by `person`. Raises FieldNotReadError."""
    event, kind = work.event, work.kind
    ledger.touch(context.now)
    if resolved.conversation is not None:
        ledger.note_conversation(resolved.conversation)
    if resolved.classic_sid is not None:
        ledger.put("classic_sid", resolved.classic_sid)
    customer, recipient = kind.ends(event)
    recipient = recipient or resolved.recipient
    if resolved.participant.type in AGENT_TYPES:
        recipient = None  # our own side wrote, so the recipient is the customer
    if recipient is not None:
        ledger.note_recipient(recipient)
    for ours in resolved.ours:
        fact = make_fact(context, ours, ledger, cause=event.cause, version=version_of(ours, work.begun))
        ledger.take_participant(_as_ours(fact))
    version: Version = resolved.version or version_of(resolved.participant, work.begun)
    fact = make_fact(
        context,
        resolved.participant,
        ledger,
        cause=event.cause,
        version=version,
        origin=resolved.origin,
        address=work.lead or customer,
        recipient=recipient,
        call_sid=kind.call_sid(event) if kind.call_sid else None,
        opt_out=kind.opt_out(event) if kind.opt_out else None,
        person=person,
    )
    return ledger.take_participant(fact)


def resolved_fields(work: AnyWork, resolved: Resolved) -> list[str]:
    """Return the ledger fields that applying `resolved` reads."""
    event, kind = work.event, work.kind
    members = [member.participant for member in resolved.members if member.participant is not None]
    everyone = (resolved.participant, *resolved.ours, *members)
    addresses = [one.as_address() for participant in everyone for one in participant.addresses]
    addresses += [address for address in kind.ends(event) if address is not None]
    addresses += kind.known_at(event) if kind.known_at else ()
    addresses += [member.address for member in resolved.members]
    calls = [sid for participant in everyone for sid in calls_of(participant)]
    calls += [kind.call_sid(event)] if kind.call_sid else []
    return fields_for([participant.id for participant in everyone], addresses, calls)


def _as_ours(fact: ParticipantFact) -> ParticipantFact:
    """Return the fact as that of our own side, unless the participant is a CUSTOMER."""
    if fact.participant.type == ParticipantType.CUSTOMER:
        return fact
    return ParticipantFact(fact.participant, fact.version, fact.cause, fact.decision, is_ours=True)
