"""Source `voice`: form webhooks of a call: the incoming call, its status callbacks, and requests during the call.

All of them may arrive at one route, as Twilio's console allows. An incoming call and its status callbacks are named by
CallSid and CallStatus. A request during the call (a `<Connect>` or `<Dial>` has ended, a digit was pressed) repeats the
current CallStatus, so its key also contains a digest of its parameters. Outgoing calls and child legs are disregarded.
Parameters: https://www.twilio.com/docs/usage/webhooks/voice-webhooks
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from router.core.calls import GOING_ON, OVER, call_key, call_party
from router.core.errors import UnreadableError
from router.core.events import CallReported, Cause, Disregarded, Event, Identity, InboundEntry, SourceName
from router.core.signing.form import parse_form
from router.core.values import Value
from router.inbound.callbacks import ROW, identify_callback, is_marked, normalize_callback, read_callback
from router.inbound.rows import IGNORED, JOINED, LEFT, REQUESTED, EventTypeRow
from router.inbound.webhook import Piece, require

if TYPE_CHECKING:
    from router.core.addresses import Address
    from router.core.signing.form import Form
    from router.inbound.webhook import Webhook

_NAMES: Final = frozenset(
    {"CallSid", "AccountSid", "From", "To", "CallStatus", "Direction", "ParentCallSid", "SessionStatus", "HandoffData"}
)
#: Those of them that must be UTF-8; in all others a wrong byte is replaced.
_EXACT: Final = frozenset({"CallSid", "AccountSid", "From", "To", "ParentCallSid"})
_OUTGOING: Final = "an outgoing call"
_LEG: Final = "a leg of another call"
_UNKNOWN: Final = "unknown CallStatus"
#: What becomes of each event type (router.inbound.table).
ROWS: Final = (
    *(
        EventTypeRow(f"call.{status}", (JOINED,), "once Twilio has put the call into a conversation")
        for status in ("queued", "initiated", "ringing", "in-progress")
    ),
    EventTypeRow("call.in-progress", (REQUESTED,), "once by webhook", kind="the AI agent hands over, or has failed"),
    *(
        EventTypeRow(f"call.{status}", (LEFT,), "unless the caller stays on another channel")
        for status in ("completed", "busy", "failed", "no-answer", "canceled")
    ),
    EventTypeRow("call.<status>", IGNORED, _OUTGOING, kind="outgoing"),
    EventTypeRow("call.<status>", IGNORED, _LEG, kind="child leg"),
    EventTypeRow("call.<any other>", IGNORED, _UNKNOWN),
    ROW,
)
#: Parameters that mark a request during a call: the end of a `<Connect>`, `<Dial>`, `<Enqueue>`, `<Record>` or `<Pay>`
#: (`Result`), or the input of a `<Gather>`. Status callbacks of a call that is over may carry them too; those are not
#: such requests.
#: https://www.twilio.com/docs/voice/twiml/connect/conversationrelay
_DURING_CALL: Final = frozenset(
    {
        "SessionStatus",
        "HandoffData",
        "DialCallStatus",
        "QueueResult",
        "RecordingUrl",
        "Digits",
        "SpeechResult",
        "Result",
    }
)
#: SessionStatus of a ConversationRelay session that ended with an error.
_FAILED: Final = "failed"
#: Characters of a SID or a status in keys; real ones are shorter.
_MAX_LENGTH: Final = 64
#: What no CallStatus has: the status is in keys, log lines and entries, where a number must not appear.
_NOT_STATUS: Final = re.compile(r"[^a-z-]+")


class CallRequest(Value):
    """The parameters of a call's webhook; `during_call` are those of _DURING_CALL that it has."""

    sid: str
    status: str
    sender: str
    recipient: str
    direction: str = ""
    parent_sid: str = ""
    session_status: str = ""
    handoff_data: str = ""
    during_call: frozenset[str] = frozenset()

    @property
    def ignored_because(self) -> str | None:
        """The reason why this call is disregarded, or None."""
        if self.direction.startswith("outbound"):
            return f"{_OUTGOING} ({self.direction[:32]})"
        if self.parent_sid:
            return _LEG
        if self.status not in GOING_ON | OVER:
            return f"{_UNKNOWN} {self.status[:32]}"
        return None

    @property
    def is_over(self) -> bool:
        """Return whether the call has ended, with whatever result."""
        return self.status in OVER

    @property
    def is_during_call(self) -> bool:
        """Return whether this is a request while the call goes on, and not a change of its status."""
        return bool(self.during_call) and not self.is_over

    @property
    def is_handoff(self) -> bool:
        """Return whether the AI agent hands the caller over, or its session failed."""
        return self.is_during_call and (bool(self.handoff_data) or self.session_status == _FAILED)

    @property
    def customer(self) -> Address | None:
        """The caller; None if the number is withheld."""
        return call_party(self.sender)

    @property
    def ours(self) -> Address | None:
        """The called address; None if a Voice SDK app called no number."""
        return call_party(self.recipient)


def split(webhook: Webhook, account_id: str) -> list[Piece]:
    """Return the one event of a webhook; raises UnreadableError."""
    if is_callback(webhook.form):
        callback = identify_callback(webhook.form, SourceName.VOICE, default_account=account_id)
        if callback is not None:
            return [Piece(callback, webhook.body)]
    return [Piece(identify(webhook.form, default_account=account_id), webhook.body)]


def is_callback(form: Form) -> bool:
    """Return whether a form is a callback that is no call's own: of its recording, its conference and the like."""
    if form.get("CallStatus").strip() and form.get("CallSid").strip():
        return is_marked(form)
    return read_callback(form) is not None


def identify(form: Form, *, default_account: str) -> Identity:
    """Return a call's account, the key of this webhook and its subject; raises UnreadableError."""
    call = read_call(form)
    account_id = form.read({"AccountSid"}).get("AccountSid", "").strip()
    account_id = account_id or default_account
    if len(call.sid) > _MAX_LENGTH:
        raise UnreadableError("CallSid is too long")
    key = call_key(account_id, call.sid, call.status)
    if call.is_during_call:
        params = b"\0".join(b"\1".join(pair) for pair in sorted(form))
        key = f"{key}:{sha256(params).hexdigest()[:32]}"
    return Identity(account_id, key, call.sid)


def normalize(entry: InboundEntry) -> Event:
    """Return the event of an inbound entry; raises UnreadableError if it does not hold one."""
    form = parse_form(entry.body)
    if is_callback(form):
        callback = normalize_callback(form, entry)
        if callback is not None:
            return callback
    call = read_call(form)
    cause = Cause(entry.source, f"call.{call.status}", call.sid, entry.key, entry.received_at, entry.event_id)
    if call.ignored_because:
        return Disregarded(cause, entry.account_id, call.ignored_because)
    return CallReported(
        cause=cause,
        account_id=entry.account_id,
        call_sid=call.sid,
        status=call.status,
        recipient=call.ours,
        customer=call.customer,
        is_over=call.is_over,
        handoff=call.handoff_data if call.is_handoff else None,
    )


def read_call(form: Form) -> CallRequest:
    """Return the parameters of a call's webhook; raises UnreadableError naming the missing ones."""
    params = {name: value.strip() for name, value in form.read(_NAMES, exact=_EXACT).items()}
    require(params, "CallSid", "CallStatus")
    return CallRequest(
        sid=params["CallSid"],
        status=_NOT_STATUS.sub("?", params["CallStatus"].lower()[:_MAX_LENGTH]),
        sender=params.get("From", ""),
        recipient=params.get("To", ""),
        direction=params.get("Direction", "").lower(),
        parent_sid=params.get("ParentCallSid", ""),
        session_status=params.get("SessionStatus", "").lower(),
        handoff_data=params.get("HandoffData", ""),
        during_call=_DURING_CALL & {name.decode("utf-8", "replace") for name, value in form if value},
    )
