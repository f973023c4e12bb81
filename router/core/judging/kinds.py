"""The table of all kinds of events, with the rules that judge each.

To add a kind of event: define its class in `router.core.events`, write its rules in one file of this package, and add a
row here. No other module distinguishes kinds of events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.core.events import (
    CallReported,
    ClassicReported,
    CommunicationReported,
    ConversationReported,
    Disregarded,
    MessageReceived,
    ParticipantReported,
)
from router.core.judging import calls, classic, communications, conversations, messages, participants
from router.core.judging.work import EventKind
from router.core.ledger.marker import Outcome, Result

if TYPE_CHECKING:
    from router.core.events import Event

_CLOSED: Final = Outcome(Result.STALE, "the conversation is closed")

KINDS: Final[dict[type[Event], EventKind[Any]]] = {
    MessageReceived: EventKind(
        fields=messages.fields,
        apply=messages.apply,
        ends=messages.ends,
        resolve=messages.resolve,
        apply_resolved=messages.apply_resolved,
        remember=messages.remember,
        prepare=messages.prepare,
        apply_confirmed=messages.apply_confirmed,
        route=messages.route,
        names=messages.names,
        opt_out=messages.opt_out,
        known_at=messages.known_at,
        has_customer=True,
    ),
    ParticipantReported: EventKind(
        fields=participants.fields,
        apply=participants.apply,
        resolve=participants.resolve,
        is_doubtful=participants.is_doubtful,
        arriving=participants.arriving,
        is_callback=True,
    ),
    ConversationReported: EventKind(
        fields=conversations.fields,
        apply=conversations.apply,
        is_callback=True,
    ),
    CommunicationReported: EventKind(
        fields=communications.fields,
        apply=communications.apply,
        ends=communications.ends,
        resolve=communications.resolve,
        apply_resolved=communications.apply_resolved,
        opt_out=communications.opt_out,
        on_gone=_CLOSED,
        is_callback=True,
        needs_fresh_account=True,
    ),
    ClassicReported: EventKind(
        fields=classic.fields,
        apply=classic.apply,
        ends=classic.ends,
        resolve=classic.resolve,
        apply_resolved=classic.apply_resolved,
        opt_out=classic.opt_out,
        remember=classic.remember,
        on_gone=_CLOSED,
        prepare=classic.prepare,
        route=classic.route,
        is_doubtful=classic.is_doubtful,
        has_customer=True,
    ),
    CallReported: EventKind(
        fields=calls.fields,
        apply=calls.apply,
        ends=calls.ends,
        resolve=calls.resolve,
        apply_resolved=calls.apply_resolved,
        remember=calls.remember,
        decide=calls.decide,
        call_sid=calls.call_sid,
        has_customer=True,
    ),
    Disregarded: EventKind(
        fields=lambda _, __: None,
        apply=lambda _, work: Outcome(Result.IGNORED, work.event.reason),
    ),
}
