"""Callbacks of other Twilio products that arrive at a form route: recognized by a parameter, and disregarded by name.

The console and TwiML take one URL for many things, and most of their callbacks have not the parameters of the route's
own events: only a form that lacks those is looked at here. Some repeat all parameters of the call, so that their own
marks must tell them from it (`is_marked`). An incoming message or call at the wrong route is none of them: it stays
refused, because disregarding it would lose it.
Parameters: https://www.twilio.com/docs/voice/twiml/record#attributes-recording-status-callback-parameters,
https://www.twilio.com/docs/voice/twiml/record#transcribecallback, https://www.twilio.com/docs/voice/twiml/gather,
https://www.twilio.com/docs/voice/answering-machine-detection, https://www.twilio.com/docs/voice/conference,
https://www.twilio.com/docs/voice/twiml/transcription, https://www.twilio.com/docs/voice/twiml/stream,
https://www.twilio.com/docs/voice/twiml/siprec, https://www.twilio.com/docs/voice/api/payment-resource,
https://www.twilio.com/docs/video/api/status-callbacks,
https://www.twilio.com/docs/usage/troubleshooting/debugging-event-webhooks
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from router.core.calls import OVER
from router.core.events import Cause, Disregarded, Identity
from router.inbound.rows import IGNORED, EventTypeRow

if TYPE_CHECKING:
    from router.core.events import InboundEntry
    from router.core.signing.form import Form

_BECAUSE: Final = "a callback that changes no participant"
#: The row of each form source (router.inbound.table).
ROW: Final = EventTypeRow("callback.<kind>", IGNORED, _BECAUSE)
#: The parameter that marks each kind, and the one with its state. The first kind whose mark has a value counts: a
#: conference's recording has ConferenceSid too, and a transcription of a recording RecordingSid.
_KINDS: Final = (
    ("TranscriptionEvent", "transcription", "TranscriptionEvent"),
    ("TranscriptionStatus", "transcription", "TranscriptionStatus"),
    ("TranscriptionSid", "transcription", "Status"),
    ("RecordingSid", "recording", "RecordingStatus"),
    ("RecordingStatus", "recording", "RecordingStatus"),
    ("StreamEvent", "stream", "StreamEvent"),
    ("SiprecEvent", "siprec", "SiprecEvent"),
    ("ConferenceSid", "conference", "StatusCallbackEvent"),
    ("CompositionSid", "composition", "StatusCallbackEvent"),
    ("RoomSid", "room", "StatusCallbackEvent"),
    ("PaymentSid", "payment", "Result"),
    ("UnstableSpeechResult", "partial-speech", ""),
    ("StableSpeechResult", "partial-speech", ""),
    ("AnsweredBy", "answering-machine", "AnsweredBy"),
    ("PayloadType", "debugger", "Level"),
)
#: Those of them that no request for TwiML has, so that a form with a call's parameters is a callback too.
_MARKS: Final = frozenset(
    {
        "TranscriptionEvent",
        "TranscriptionStatus",
        "TranscriptionSid",
        "RecordingStatus",
        "StreamEvent",
        "SiprecEvent",
        "PaymentSid",
        "UnstableSpeechResult",
        "StableSpeechResult",
    }
)
#: CallbackSource of a status callback of a call; the request for an incoming call has none.
_PROGRESS: Final = "call-progress-events"
#: MessageStatus of an incoming message.
_INCOMING: Final = frozenset({"received", "receiving"})
_NOT_WORD: Final = re.compile(r"[^a-z_-]+")
_MAX_LENGTH: Final = 64


def read_callback(form: Form) -> tuple[str, str] | None:
    """Return the kind of a callback (`recording`) and its state (`completed`, may be empty); None if it is none."""
    for mark, kind, state in _KINDS:
        if form.get(mark).strip():
            return kind, _word(form, state) or _word(form, "StatusCallbackEvent")
    status = _word(form, "MessageStatus")
    if form.get("MessageSid").strip() and status and status not in _INCOMING:
        return "message-status", status
    status, is_outgoing = _word(form, "CallStatus"), _word(form, "Direction").startswith("outbound")
    if status and (status in OVER or is_outgoing or form.get("CallbackSource").strip() == _PROGRESS):
        return "call-status", status
    return None


def is_marked(form: Form) -> bool:
    """Tell whether a form has the mark of a callback, whatever else it has."""
    texts = form.read()
    return not _MARKS.isdisjoint(texts) and any(texts.get(mark, "").strip() for mark in _MARKS)


def identify_callback(form: Form, source: str, *, default_account: str) -> Identity | None:
    """Return a callback's account, key and subject; None if the form is no callback.

    The key has a digest of the parameters: only a repetition of the same callback has the same.
    """
    callback = read_callback(form)
    if callback is None:
        return None
    account_id = form.get("AccountSid").strip() or default_account
    digest = sha256(form.signed()).hexdigest()[:32]
    return Identity(account_id, f"{account_id}:{source}:callback:{callback[0]}:{digest}", digest)


def normalize_callback(form: Form, entry: InboundEntry) -> Disregarded | None:
    """Return the disregarded event of a callback, with its kind and state as reason; None if the form is none."""
    callback = read_callback(form)
    if callback is None:
        return None
    cause = Cause(entry.source, f"callback.{callback[0]}", entry.subject, entry.key, entry.received_at, entry.event_id)
    return Disregarded(cause, entry.account_id, f"{_BECAUSE}: {' '.join(filter(None, callback))}")


def _word(form: Form, name: str) -> str:
    """Return a parameter as a word: neither a number nor a name can be in it, as it is logged."""
    return _NOT_WORD.sub("?", form.get(name, most=_MAX_LENGTH).strip().lower()) if name else ""
