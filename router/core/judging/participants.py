"""Rules for participants that Twilio reports: the payload is the participant, so the ledger alone decides.

The API is asked only if the policy depends on something that the callback does not contain.
Events: https://www.twilio.com/docs/conversations/orchestrator/webhooks
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.events import Change
from router.core.judging.added_agents import note_arrival, note_departure
from router.core.judging.context import facts_of, make_fact, note_our_side, note_surroundings
from router.core.ledger.calls import calls_of
from router.core.ledger.marker import HOLDING_FIELD, Outcome, Result, fields_for
from router.core.resolution.messages import fetch_surroundings
from router.core.resources import AGENT_TYPES, ParticipantType

if TYPE_CHECKING:
    from router.core.events import ParticipantReported
    from router.core.judging.context import AccountRules, Context
    from router.core.judging.work import Needed, Work
    from router.core.ledger.ledger import Ledger
    from router.core.ledger.marker import ParticipantFact
    from router.core.resolution.requests import Resolution


def fields(_: AccountRules, work: Work[ParticipantReported]) -> Needed:
    """Return the conversation and the ledger fields that the event needs."""
    participant = work.event.participant
    addresses = [one.as_address() for one in participant.addresses]
    floor = [HOLDING_FIELD] if participant.type in AGENT_TYPES else []
    return participant.conversation_id, [*fields_for([participant.id], addresses, calls_of(participant)), *floor]


def apply(context: Context, work: Work[ParticipantReported]) -> Outcome | None:
    """Apply the report to its ledger; return None if the API must be asked first, or another worker announces it."""
    event, ledger, surroundings = work.event, work.ledger, work.surroundings
    if ledger is None or (work.is_being_created and _is_new(event, ledger)):
        return None
    ledger.touch(context.now, open_at=min(event.version.reported_at, event.cause.received_at))
    if surroundings is not None:
        note_surroundings(surroundings, event.participant, ledger)
    fact = make_fact(context, event.participant, ledger, cause=event.cause, version=event.version)
    before = ledger.marker(event.participant.id)
    if event.change is Change.REMOVED:
        outcome = ledger.take_removal(fact)
        if before is not None and before.type in AGENT_TYPES and outcome.result is Result.NOTED:
            note_departure(context, fact, ledger)
        return outcome
    if surroundings is None and _is_undecided(context, event, ledger, fact):
        return None
    outcome = ledger.take_participant(fact)
    if outcome.result is Result.IGNORED:
        note_our_side(event.participant, ledger)
        note_arrival(context, fact, before, ledger)
    return Outcome(Result.STALE, outcome.reason) if outcome.result is Result.GONE else outcome


def resolve(_: Context, work: Work[ParticipantReported]) -> Resolution:
    """Fetch the conversation and its participants, on which the policy depends."""
    return fetch_surroundings(work.event.participant.conversation_id)


def is_doubtful(context: Context, event: ParticipantReported) -> bool:
    """Return whether a participant was added at an address that may have become ours since the account was read.

    Our side's address is stored before its participant is created, so reading the account after the callback decides.
    """
    if event.participant.type == ParticipantType.CUSTOMER:
        return False
    return not any(address.key in context.own for address in event.participant.addresses)


def arriving(event: ParticipantReported) -> list[str]:
    """Return the keys of the participant's addresses."""
    return [address.key for address in event.participant.addresses]


def _is_new(event: ParticipantReported, ledger: Ledger) -> bool:
    return event.change is not Change.REMOVED and ledger.marker(event.participant.id) is None


def _is_undecided(context: Context, event: ParticipantReported, ledger: Ledger, fact: ParticipantFact) -> bool:
    """Return whether a new participant's target depends on something that the callback does not contain."""
    if fact.is_ours or fact.address is None or ledger.is_closed or ledger.get("target") is not None:
        return False
    marker = ledger.marker(event.participant.id)
    if marker is not None and (not marker.is_present or fact.version < marker.version or marker.is_ours):
        return False
    facts = facts_of(
        context, event.participant, ledger, cause=event.cause, customer=fact.address, recipient=fact.recipient
    )
    return context.rules.policy.is_open(facts)
