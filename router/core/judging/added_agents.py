"""Agents whom another system adds or removes (Flex, a Studio flow): one holds the conversation while they are in it.

Nobody of ours writes meanwhile. A person whom we let join is at an address of our own, and is not meant here. Known
gap: an agent that no callback reports is not noticed, though a list of participants may show them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.ledger.floor import holding_of, is_of_earlier_release
from router.core.resources import ParticipantType
from router.core.routing.holding import HandoffRequest
from router.core.routing.inputs import AddForeign, RemoveForeign

if TYPE_CHECKING:
    from router.core.judging.context import Context
    from router.core.ledger.ledger import Ledger
    from router.core.ledger.marker import Marker, ParticipantFact


def note_arrival(context: Context, fact: ParticipantFact, before: Marker | None, ledger: Ledger) -> None:
    """Give the floor to an agent who was added; `before` is the marker of the time before the report."""
    participant = fact.participant
    is_there = before is not None and before.is_present and before.type == participant.type
    if fact.is_ours or is_there or not _holds(context, participant.type) or (before is not None and before.is_ours):
        return
    if ledger.get("target") is None or ledger.is_closed or (holding := holding_of(ledger)) is None:
        return
    if ledger.take_floor(holding, AddForeign(participant.id), fact.cause).refused is None:
        ledger.wake_at = context.now // 1000


def note_departure(context: Context, fact: ParticipantFact, ledger: Ledger) -> None:
    """Take the floor from an agent who was removed: for the queue of the settings, or for the AI agent."""
    if ledger.get("target") is None or ledger.is_closed or (holding := holding_of(ledger)) is None:
        return
    now, queue = context.now // 1000, context.rules.team.after_foreign
    if is_of_earlier_release(ledger):
        ledger.wake_at = now  # whoever is left holds, or one is asked for (worker.floor)
        return
    request = None
    if queue is not None:
        name = f"{ledger.account_id}/{ledger.conversation_id}/removed-{holding.epoch}"
        request = HandoffRequest(id=name, reason="the agent was removed", queue=queue, since=now, queued_at=now)
    given = RemoveForeign(fact.participant.id, request)
    if ledger.take_floor(holding, given, fact.cause).refused is None:
        ledger.wake_at = now


def _holds(context: Context, kind: str | None) -> bool:
    team = context.rules.team
    return (kind == ParticipantType.HUMAN_AGENT and team.is_holder_foreign) or (
        kind == ParticipantType.AI_AGENT and team.is_ai_foreign
    )
