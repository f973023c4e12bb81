"""Resolution of a call: Twilio opens its conversation, which is found by the CallSid as `channelId`.

Nothing is created here. There is no conversation until Twilio has executed the answer to the call, so the first tries
find nothing, as a rule; the worker bounds the wait.
Answers that attach a call: https://www.twilio.com/docs/voice/twiml/connect/conversationrelay
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.errors import ApiError, NotFoundError
from router.core.resolution.requests import FindConversations, ListParticipants, Resolved, Wait
from router.core.resolution.setbacks import COLLECTION, setback_of
from router.core.resources import AGENT_TYPES, ParticipantType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.core.events import CallReported
    from router.core.resolution.requests import Resolution
    from router.core.resources import Participant

#: Seconds of the first wait; the consumer doubles it each time.
FIRST_WAIT: Final = 0.5


def resolve_call(event: CallReported) -> Resolution:
    """Find the caller's participant in the conversation of the call; of several conversations, in the newest first."""
    found = yield FindConversations(event.call_sid)
    if isinstance(found, ApiError):
        return setback_of(found, "looking for the conversation of a call", needs=COLLECTION)
    for conversation in sorted(found, key=lambda one: (one.created_at or "", one.id), reverse=True):
        participants = yield ListParticipants(conversation.id)
        if isinstance(participants, NotFoundError):
            continue
        if isinstance(participants, ApiError):
            return setback_of(participants, "listing the participants of a call")
        caller = find_caller(event, participants)
        if caller is not None:
            ours = tuple(one for one in participants if _is_ours(event, one))
            return Resolved(conversation.id, caller, "found", conversation, ours)
    reason = "the caller is in none of its conversations yet" if found else "no conversation has the call yet"
    return Wait(reason, FIRST_WAIT, is_usual=True)


def find_caller(event: CallReported, participants: Iterable[Participant]) -> Participant | None:
    """Return the caller's participant: the one with this call, else the one at the caller's address; never our side."""

    def rank(one: Participant) -> tuple[bool, bool, bool, str, str]:
        at_address = event.customer is not None and one.has_address(event.customer)
        is_customer = one.type == ParticipantType.CUSTOMER
        return (not _has_call(event, one), not at_address, not is_customer, one.created_at or "", one.id)

    def is_candidate(one: Participant) -> bool:
        at_address = event.customer is not None and one.has_address(event.customer)
        return (at_address or _has_call(event, one)) and one.type not in AGENT_TYPES and not _is_ours(event, one)

    return min(filter(is_candidate, participants), key=rank, default=None)


def _has_call(event: CallReported, participant: Participant) -> bool:
    return any(one.channel_id == event.call_sid for one in participant.addresses)


def _is_ours(event: CallReported, participant: Participant) -> bool:
    if event.recipient is None or participant.type == ParticipantType.CUSTOMER:
        return False
    return participant.has_address(event.recipient)
