"""Rules for calls: one with a target waits until Twilio has opened its conversation; its end ends the caller's stay.

Events of a call: https://www.twilio.com/docs/usage/webhooks/voice-webhooks
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.calls import decide_call
from router.core.judging.resolved import announce
from router.core.judging.work import Memory
from router.core.ledger.marker import Outcome, Result
from router.core.resolution.calls import resolve_call

if TYPE_CHECKING:
    from router.core.addresses import Address
    from router.core.events import CallReported
    from router.core.judging.context import AccountRules, Context
    from router.core.judging.work import Work
    from router.core.ledger.ledger import Ledger
    from router.core.policy import Decision
    from router.core.resolution.requests import Resolution, Resolved


def decide(context: Context, call: CallReported) -> Decision:
    """Return the policy's decision for the caller."""
    rules = context.rules
    return decide_call(
        rules.policy,
        account_id=call.account_id,
        customer=call.customer,
        recipient=call.recipient,
        configuration_id=rules.configuration_id or None,
        now=context.now,
    )


def fields(_: AccountRules, __: Work[CallReported]) -> None:
    """Return None: the event alone does not identify a conversation."""


def apply(_: Context, work: Work[CallReported]) -> Outcome | None:
    """Ignore a call without a target; any other call, and every end of one, needs its conversation first."""
    decision = work.decision
    if decision is None or decision.target is not None or work.event.is_over:
        return None
    return Outcome(Result.IGNORED, decision.reason)


def resolve(_: Context, work: Work[CallReported]) -> Resolution:
    """Find the conversation that Twilio opened for the call."""
    return resolve_call(work.event)


def apply_resolved(context: Context, work: Work[CallReported], resolved: Resolved, ledger: Ledger) -> Outcome:
    """Announce the caller."""
    return announce(context, work, resolved, ledger)


def remember(_: AccountRules, work: Work[CallReported], __: Resolved) -> Memory:
    """Return the CallSid, so that the call's further events and its end need no API request."""
    return Memory(call_sid=work.event.call_sid)


def ends(call: CallReported) -> tuple[Address | None, Address | None]:
    """Return the caller's address and the called number."""
    return call.customer, call.recipient


def call_sid(call: CallReported) -> str:
    """Return the SID of the call."""
    return call.call_sid
