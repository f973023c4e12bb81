"""Calls: their states, callers who withhold their number, and the policy's decision for one.

Shared by the receiver, which answers a call at once, and the worker, which announces its participant later. The two may
decide differently (a rule on hours, a policy changed in between); the worker's decision is the one that is committed.
Statuses: https://www.twilio.com/docs/voice/api/call
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from router.core.addresses import Address, Channel
from router.core.events import SourceName
from router.core.policy import Facts
from router.core.resources import ParticipantType

if TYPE_CHECKING:
    from router.core.policy import Decision, Policy

#: CallStatus of a call that comes in or continues, and of one that is over.
GOING_ON: Final = frozenset({"queued", "initiated", "ringing", "in-progress"})
OVER: Final = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})
_CLIENT: Final = "client:"


def call_party(value: str) -> Address | None:
    """Return one end of a call as participants carry it, or None if the caller withheld it; never raises.

    A Voice SDK identity loses its `client:`, as in the API; SIP URIs stay whole.
    """
    text = value.strip()
    if Address(Channel.VOICE, text).is_withheld:
        return None
    if text.lower().startswith(_CLIENT):
        text = text[len(_CLIENT) :].strip()
    return Address(Channel.VOICE, text) if text else None


def call_key(account_id: str, sid: str, status: str) -> str:
    """Return the idempotency key of one state of a call."""
    return f"{account_id}:voice:{sid}:{status}"


def decide_call(
    policy: Policy,
    *,
    account_id: str,
    customer: Address | None,
    recipient: Address | None,
    configuration_id: str | None,
    now: int,
) -> Decision:
    """Return the policy's decision for a caller. A withheld number matches no customer_prefix. `now` is in µs."""
    return policy.decide(
        Facts(
            source=SourceName.VOICE,
            channel=Channel.VOICE,
            participant_type=ParticipantType.CUSTOMER,
            customer=customer or Address(Channel.VOICE, ""),
            recipient=recipient,
            configuration_id=configuration_id,
            account_id=account_id,
            now=datetime.fromtimestamp(now / 1_000_000, tz=UTC),
        )
    )
