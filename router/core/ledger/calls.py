"""Calls in the ledger of a conversation: each is announced once, and a caller leaves when the last one is over.

A participant with only voice addresses stays while its calls continue. Twilio's callbacks about it may come before a
call, after it, late or repeated, and the API may reuse the participant for the next call or create a new one. Calls are
identified by the CallSid: in the event itself, or as `channelId` of the participant's address.

    the participant is ...      a call begins             the call is reported again   the call is over
    absent, or unknown          joined                    joined (it begins)           noted as over
    in no known call            known (it is this call)   known                        left
    in this call                known                     known or updated             left; noted if in others too
    in another call             joined: a new stay        known or updated             noted as over
    present on other channels   known                     known or updated             noted: it stays
    (the call is over)          stale                     stale                        known: it had left

A call that is over stays over: no version, order or repetition brings it back. The end of a call leaves versions alone,
because its time is ours and theirs are Twilio's. If two calls are announced at once (the end of the first is late, or a
switchboard has two), `left` is published once, for the last one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.addresses import Channel, from_key
from router.core.ledger.marker import Outcome, Result, call_field
from router.core.values import Value

if TYPE_CHECKING:
    from router.core.ledger.fields import LedgerFields
    from router.core.ledger.marker import Marker, ParticipantFact
    from router.core.resources import Participant

_OVER: Final = "over"


class CallsSeen(Value):
    """The calls that a fact implies.

    `known` are the calls of the participant's stay including this fact's; `are_over` if every call that it is present
    for is over; `is_new` if it is announced already, but not for this call.
    """

    known: tuple[str, ...] = ()
    are_over: bool = False
    is_new: bool = False


def calls_of(participant: Participant, call_sid: str | None = None) -> tuple[str, ...]:
    """Return a participant's calls: the one that the event is about, else those of its addresses."""
    if call_sid:
        return (call_sid,)
    found = (one.channel_id for one in participant.addresses if one.channel == Channel.VOICE)
    return tuple(dict.fromkeys(sid for sid in found if sid))


def see_calls(ledger: LedgerFields, fact: ParticipantFact, marker: Marker | None) -> CallsSeen:
    """Compare a fact with the known calls; raises FieldNotReadError."""
    participant, before = fact.participant, marker.calls if marker and marker.is_present else ()
    if any(one.channel != Channel.VOICE for one in participant.addresses):
        return CallsSeen(before)
    reported = calls_of(participant, fact.call_sid)
    live = tuple(sid for sid in reported if ledger.get(call_field(sid)) != _OVER)
    if not live and not (marker and marker.is_announced):
        return CallsSeen(before, are_over=bool(reported) or bool(marker and marker.has_hung_up))
    is_new = bool(before) and not set(live) <= set(before)
    return CallsSeen(tuple(dict.fromkeys((*before, *live))), is_new=is_new)


def is_another_call(ledger: LedgerFields, key: str, calls: tuple[str, ...], holder_id: str) -> bool:
    """Return whether the participant announced at the address `key` is in other calls than `calls` only.

    Two callers who withhold their numbers are two customers unless they are in one call.
    """
    is_withheld = from_key(key).is_withheld
    holder = ledger.marker(holder_id) if calls or is_withheld else None
    if holder is None:
        return False
    return (is_withheld or bool(calls and holder.calls)) and not set(holder.calls) & set(calls)


def hang_up(ledger: LedgerFields, participant_id: str, call_sid: str) -> Marker | Outcome:
    """Note that a call is over; return the marker of the caller who leaves with it, or the reason why nobody leaves.

    Raises FieldNotReadError.
    """
    ledger.put(call_field(call_sid), _OVER)
    marker = ledger.marker(participant_id)
    if marker is None:
        return Outcome(Result.NOTED, "its caller had not been announced")
    left = marker._replace(calls=tuple(sid for sid in marker.calls if sid != call_sid))
    if not marker.is_present:
        ledger.put_marker(participant_id, left)
        return Outcome(Result.KNOWN, "its caller had left already")
    stays = next((reason for holds, reason in _stays(left) if holds), None)
    if stays:
        ledger.put_marker(participant_id, left)
        return Outcome(Result.NOTED, stays)
    return left._replace(target=None, has_hung_up=True)


def _stays(marker: Marker) -> tuple[tuple[bool, str], ...]:
    return (
        (marker.is_ours or marker.target is None, "its caller had not been announced"),
        (any(not key.startswith(f"{Channel.VOICE}|") for key in marker.addresses), "its caller has other channels too"),
        (bool(marker.calls), "its caller is in another call"),
    )
