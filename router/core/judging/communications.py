"""Rules for communications that Twilio reports: published for the holder once their author is announced.

Events: https://www.twilio.com/docs/conversations/orchestrator/webhooks
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.judging.resolved import announce
from router.core.ledger.communications import from_communication, take_communication
from router.core.ledger.marker import Outcome, Result, fields_for
from router.core.resolution.messages import resolve_communication
from router.core.resources import AGENT_TYPES
from router.core.timestamps import to_microseconds

if TYPE_CHECKING:
    from router.core.addresses import Address
    from router.core.events import CommunicationReported
    from router.core.judging.context import AccountRules, Context
    from router.core.judging.work import Needed, Work
    from router.core.ledger.ledger import Ledger
    from router.core.resolution.requests import Resolution, Resolved


def fields(_: AccountRules, work: Work[CommunicationReported]) -> Needed:
    """Return the conversation and the ledger fields that the event needs."""
    communication = work.event.communication
    author = communication.author
    ids = [author.participant_id] if author and author.participant_id else []
    return communication.conversation_id, fields_for(ids, [author.as_address()] if author else ())


def apply(context: Context, work: Work[CommunicationReported]) -> Outcome | None:
    """Publish the communication; return None if its author is not known yet."""
    event, ledger = work.event, work.ledger
    if ledger is None:
        return None
    ledger.touch(context.now, open_at=_time_of(event))
    fact = from_communication(event)
    if ledger.is_closed:
        return Outcome(Result.STALE, "the conversation is closed")
    if fact is None:
        return Outcome(Result.IGNORED, "a communication without author")
    if take_communication(ledger, fact, text_limit=context.rules.text_limit):
        return Outcome(Result.KNOWN, "its author is announced")
    marker = ledger.marker(fact.author_id) if fact.author_id else None
    if marker is not None and marker.is_present and (marker.is_ours or marker.type in AGENT_TYPES):
        return Outcome(Result.IGNORED, "our own side wrote it")
    return None


def _time_of(event: CommunicationReported) -> int:
    """Return when the communication was made (µs): its conversation was open then."""
    created_at = to_microseconds(event.communication.created_at)
    return min(created_at or event.cause.received_at, event.cause.received_at)


def resolve(_: Context, work: Work[CommunicationReported]) -> Resolution:
    """Find the author in the API."""
    return resolve_communication(work.event)


def apply_resolved(context: Context, work: Work[CommunicationReported], resolved: Resolved, ledger: Ledger) -> Outcome:
    """Announce the author, then publish the communication."""
    outcome = announce(context, work, resolved, ledger)
    fact = from_communication(work.event)
    if outcome.result is not Result.GONE and fact is not None:
        take_communication(ledger, fact, text_limit=context.rules.text_limit)
    return outcome


def opt_out(event: CommunicationReported) -> str | None:
    """Return the keyword that Twilio has answered itself, if the communication is one."""
    fact = from_communication(event)
    return fact.content.opt_out if fact is not None else None


def ends(event: CommunicationReported) -> tuple[Address | None, Address | None]:
    """Return the author's address and the recipient's on the same channel."""
    author = event.communication.author
    if author is None:
        return None, None
    recipient = next((one for one in event.communication.recipients if one.channel == author.channel), None)
    return author.as_address(), recipient.as_address() if recipient else None
