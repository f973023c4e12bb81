"""Source `voice`: the form webhooks of a call: that it comes in, its states, and requests in its course.

One route takes all of them, as Twilio's console allows. A call's own webhook and its status callbacks are named by
CallSid and CallStatus; a request in the course of a call (a `<Connect>` or `<Dial>` that has ended, a digit) comes with
a status that was told before, so it is told apart by what it carries. Outgoing calls and child legs are disregarded by
name. Only what is needed is read: a caller's name in an odd charset must not cost the call.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from router.core.calls import GOING_ON, OVER, call_key, call_party
from router.core.errors import UnreadableError
from router.core.events import CallReported, Cause, Disregarded, Event, Identity, InboundEntry
from router.core.signing.form import parse_form
from router.inbound.rows import IGNORED, JOINED, LEFT, EventTypeRow
from router.inbound.webhook import Piece, require

if TYPE_CHECKING:
    from router.core.addresses import Address
    from router.core.signing.form import Form
    from router.inbound.webhook import Webhook

_NAMES: Final = frozenset(
    {"CallSid", "AccountSid", "From", "To", "CallStatus", "Direction", "ParentCallSid", "SessionStatus", "HandoffData"}
)
_OUTGOING: Final = "an outgoing call"
_LEG: Final = "a leg of another call"
_UNKNOWN: Final = "unknown CallStatus"
#: What becomes of each event type (router.inbound.table).
ROWS: Final = (
    *(
        EventTypeRow(f"call.{status}", (JOINED,), "once Twilio has put the call into a conversation")
        for status in ("queued", "initiated", "ringing", "in-progress")
    ),
    *(
        EventTypeRow(f"call.{status}", (LEFT,), "unless the caller stays on another channel")
        for status in ("completed", "busy", "failed", "no-answer", "canceled")
    ),
    EventTypeRow("call.<status>", IGNORED, _OUTGOING, kind="outgoing"),
    EventTypeRow("call.<status>", IGNORED, _LEG, kind="child leg"),
    EventTypeRow("call.<any other>", IGNORED, _UNKNOWN),
)
#: What only a request in the course of a call carries: the end of a `<Connect>`, `<Dial>`, `<Enqueue>` or `<Record>`,
#: or what a `<Gather>` heard. (Status callbacks of a call that is over carry some of them too, and count as that.)
_COURSE: Final = frozenset(
    {"SessionStatus", "HandoffData", "DialCallStatus", "QueueResult", "RecordingUrl", "Digits", "SpeechResult"}
)
_FAILED: Final = "failed"
#: More than any SID or status has.
_LONGEST: Final = 64


@dataclass(frozen=True, slots=True)
class CallRequest:
    """What the form of a call says; `course` are the parameters of _COURSE that it has."""

    sid: str
    status: str
    sender: str
    recipient: str
    direction: str = ""
    parent_sid: str = ""
    session_status: str = ""
    handoff_data: str = ""
    course: frozenset[str] = frozenset()

    @property
    def objection(self) -> str | None:
        """Say why this call is of no interest, or None."""
        if self.direction.startswith("outbound"):
            return f"{_OUTGOING} ({self.direction[:32]})"
        if self.parent_sid:
            return _LEG
        if self.status not in GOING_ON | OVER:
            return f"{_UNKNOWN} {self.status[:32]}"
        return None

    @property
    def is_over(self) -> bool:
        """Tell whether the call has ended, however."""
        return self.status in OVER

    @property
    def in_course(self) -> bool:
        """Tell whether this is no state of the call, but a request while it goes on."""
        return bool(self.course) and not self.is_over

    @property
    def is_handoff(self) -> bool:
        """Tell whether the AI agent hands the caller over, or has failed."""
        return self.in_course and (bool(self.handoff_data) or self.session_status == _FAILED)

    @property
    def customer(self) -> Address | None:
        """The caller; None where the number is withheld."""
        return call_party(self.sender)

    @property
    def ours(self) -> Address | None:
        """Our side: what was called; None where a Voice SDK app called no number."""
        return call_party(self.recipient)


def read_call(form: Form) -> CallRequest:
    """Return what the form of a call says; raises UnreadableError naming what is missing."""
    texts = {name: value.strip() for name, value in form.read(_NAMES).items()}
    require(texts, "CallSid", "CallStatus")
    return CallRequest(
        sid=texts["CallSid"],
        status=texts["CallStatus"].lower(),
        sender=texts.get("From", ""),
        recipient=texts.get("To", ""),
        direction=texts.get("Direction", "").lower(),
        parent_sid=texts.get("ParentCallSid", ""),
        session_status=texts.get("SessionStatus", "").lower(),
        handoff_data=texts.get("HandoffData", ""),
        course=_COURSE & {name.decode("utf-8", "replace") for name, value in form if value},
    )


def split(webhook: Webhook, account_id: str) -> list[Piece]:
    """Return the one event of a webhook; raises UnreadableError."""
    return [Piece(identify(webhook.form, default_account=account_id), webhook.body)]


def identify(form: Form, *, default_account: str) -> Identity:
    """Return whose call it is, the key of this webhook and its subject; raises UnreadableError if it cannot be told."""
    call = read_call(form)
    account_id = form.read({"AccountSid"}).get("AccountSid", "").strip()
    account_id = account_id or default_account
    if len(call.sid) > _LONGEST:
        raise UnreadableError("CallSid is too long")
    key = call_key(account_id, call.sid, call.status[:_LONGEST])
    if call.in_course:
        said = b"\0".join(b"\1".join(pair) for pair in sorted(form))
        key = f"{key}:{sha256(said).hexdigest()[:32]}"
    return Identity(account_id, key, call.sid)


def normalize(entry: InboundEntry) -> Event:
    """Return the event in an inbound entry; raises UnreadableError if it does not hold one."""
    call = read_call(parse_form(entry.body))
    cause = Cause(entry.source, f"call.{call.status[:_LONGEST]}", call.sid, entry.key, entry.received_at)
    if call.objection:
        return Disregarded(cause, entry.account_id, call.objection)
    return CallReported(
        cause=cause,
        account_id=entry.account_id,
        call_sid=call.sid,
        status=call.status,
        recipient=call.ours,
        customer=call.customer,
        is_over=call.is_over,
    )
