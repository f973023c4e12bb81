"""Rules for calls: one with a target waits until Twilio has opened its conversation; its end ends the caller's stay.

A call that the AI agent hands over asks for a person in its conversation, once; the AI agent keeps the floor until one
accepts. Who speaks to the caller is decided by the TwiML that the receiver answered.
Events of a call: https://www.twilio.com/docs/usage/webhooks/voice-webhooks
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.addresses import Channel
from router.core.calls import decide_call
from router.core.entries import show_participant
from router.core.judging.resolved import announce
from router.core.judging.work import Memory
from router.core.ledger.floor import holding_of
from router.core.ledger.marker import Outcome, Result
from router.core.resolution.calls import resolve_call
from router.core.routing.handoff_data import read_handoff_data, request_of
from router.core.routing.inputs import AskForPerson

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
    """Ignore a call without a target; any other call, every end and every handoff needs its conversation first.

    The rules may decide otherwise now than when the AI agent took the call that it hands over, as those with hours do.
    """
    decision, event = work.decision, work.event
    if decision is None or decision.target is not None or event.is_over or event.handoff is not None:
        return None
    return Outcome(Result.IGNORED, decision.reason)


def resolve(_: Context, work: Work[CallReported]) -> Resolution:
    """Find the conversation that Twilio opened for the call."""
    return resolve_call(work.event)


def apply_resolved(context: Context, work: Work[CallReported], resolved: Resolved, ledger: Ledger) -> Outcome:
    """Announce the caller, and ask for a person if the AI agent hands the call over."""
    outcome = announce(context, work, resolved, ledger)
    if work.event.handoff is None or outcome.result is Result.GONE:
        return outcome
    asked = _hand_over(context, work.event, resolved, ledger)
    return outcome if asked is None or outcome.result is Result.JOINED else asked


def _hand_over(context: Context, call: CallReported, resolved: Resolved, ledger: Ledger) -> Outcome | None:
    """Ask for a person; return None if nobody is announced in the conversation, so that there is no floor."""
    holding = holding_of(ledger)
    if holding is None:
        return None
    account_id, conversation_id, now = ledger.account_id, ledger.conversation_id, context.now // 1000
    data = read_handoff_data(call.handoff or "", context.rules.team)
    request = request_of(data, home=f"{account_id}/{conversation_id}", key=call.cause.idempotency_key, now=now)
    # What it takes of a person depends on the channel: this is a call, whatever the customer had written before.
    caller = show_participant(
        resolved.participant, account_id=account_id, conversation_id=conversation_id, channel=Channel.VOICE
    )
    step = ledger.take_floor(holding.changed(customer=caller), AskForPerson(request), call.cause, at=now)
    if step.refused is not None:
        return Outcome(Result.KNOWN, f"no further request for a person: {step.refused}")
    ledger.wake_at = now
    return Outcome(Result.NOTED, "a person is asked for")


def remember(_: AccountRules, work: Work[CallReported], __: Resolved) -> Memory:
    """Return the CallSid, so that the call's further events and its end need no API request."""
    return Memory(call_sid=work.event.call_sid)


def ends(call: CallReported) -> tuple[Address | None, Address | None]:
    """Return the caller's address and the called number."""
    return call.customer, call.recipient


def call_sid(call: CallReported) -> str:
    """Return the SID of the call."""
    return call.call_sid
