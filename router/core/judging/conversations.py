"""Rules for conversations that Twilio reports: their state is noted, and a closing ends all stays.

Events: https://www.twilio.com/docs/conversations/orchestrator/webhooks
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.ledger.marker import HOLDING_FIELD, TURN_FIELD, fields_for
from router.core.resources import ConversationStatus

if TYPE_CHECKING:
    from router.core.events import ConversationReported
    from router.core.judging.context import AccountRules, Context
    from router.core.judging.work import Needed, Work
    from router.core.ledger.marker import Outcome


def fields(rules: AccountRules, work: Work[ConversationReported]) -> Needed:
    """Return the conversation and the ledger fields that the event needs."""
    turn = (TURN_FIELD,) if rules.policy.has_bursts else ()
    return work.event.conversation.id, [*fields_for((), ()), HOLDING_FIELD, *turn]


def apply(context: Context, work: Work[ConversationReported]) -> Outcome | None:
    """Apply the report to the conversation's ledger."""
    event, ledger = work.event, work.ledger
    if ledger is None:
        return None
    is_open = event.conversation.status not in {None, ConversationStatus.CLOSED}
    open_at = min(event.version.reported_at, event.cause.received_at) if is_open else 0
    ledger.touch(context.now, open_at=open_at)
    return ledger.take_conversation(event.conversation, event.version, event.cause)
