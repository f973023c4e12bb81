"""Callbacks of other products at the form routes: accepted, disregarded by name, and not in the quarantine."""

from urllib.parse import urlencode

import pytest

from router.core.events import Disregarded, InboundEntry
from router.inbound.sources import SOURCES, normalize
from router.simulator.messages import SimulatedWebhook
from tests.receiver.samples import signed
from tests.support.accounts import ACCOUNT

CONFERENCE = {"AccountSid": ACCOUNT, "ConferenceSid": "CF1"}
TRANSCRIPTION = {"AccountSid": ACCOUNT, "TranscriptionSid": "GT1"}
CALL = {"AccountSid": ACCOUNT, "CallSid": "CA" + "1" * 32}
ENDS = {"From": "+15550100001", "To": "+15550100002", "Caller": "+15550100001", "Called": "+15550100002"}
#: The parameters of a call, which some callbacks repeat.
WHOLE_CALL = CALL | ENDS | {"Direction": "inbound", "ApiVersion": "2010-04-01"}
GOING_ON, OVER = WHOLE_CALL | {"CallStatus": "in-progress"}, WHOLE_CALL | {"CallStatus": "completed"}
ROOM = {"AccountSid": ACCOUNT, "RoomSid": "RM1", "RoomName": "gate", "SequenceNumber": "1"}
PAYMENT = CALL | {"PaymentSid": "PK1", "PaymentMethod": "credit-card", "Required": "expiration-date, security-code"}
CALLBACKS = {
    "recording completed": CALL
    | {"RecordingSid": "RE1", "RecordingStatus": "completed", "RecordingUrl": "https://x.example"},
    "answering-machine machine_start": CALL | {"AnsweredBy": "machine_start", "MachineDetectionDuration": "3000"},
    "conference participant-join": CALL | {"ConferenceSid": "CF1", "StatusCallbackEvent": "participant-join"},
    "conference conference-end": {
        "AccountSid": ACCOUNT,
        "ConferenceSid": "CF1",
        "StatusCallbackEvent": "conference-end",
    },
    "transcription transcription-content": CALL
    | {"TranscriptionSid": "GT1", "TranscriptionEvent": "transcription-content"},
    "stream stream-started": CALL | {"StreamSid": "MZ1", "StreamEvent": "stream-started"},
    "stream stream-error": GOING_ON | {"StreamSid": "MZ1", "StreamEvent": "stream-error", "StreamError": "closed"},
    "siprec siprec-started": CALL | {"SiprecSid": "SR1", "SiprecName": "gate", "SiprecEvent": "siprec-started"},
    "siprec siprec-error": GOING_ON | {"SiprecSid": "SR1", "SiprecEvent": "siprec-error", "SiprecErrorCode": "1"},
    "payment": PAYMENT | {"Capture": "payment-card-number", "PaymentCardNumber": "xxxxxxxxxxxx0000"},
    "payment success": GOING_ON | PAYMENT | {"Result": "success", "PaymentConfirmationCode": "ch_1"},
    "room participant-connected": ROOM | {"ParticipantSid": "PA1", "StatusCallbackEvent": "participant-connected"},
    "room room-ended": ROOM | {"RoomStatus": "completed", "StatusCallbackEvent": "room-ended"},
    "recording recording-started": ROOM | {"RecordingSid": "RT1", "StatusCallbackEvent": "recording-started"},
    "composition composition-available": ROOM
    | {"CompositionSid": "CJ1", "StatusCallbackEvent": "composition-available"},
    "recording absent": CALL | {"RecordingSid": "RE1", "RecordingStatus": "absent", "RecordingSource": "DialVerb"},
    "recording in-progress": CONFERENCE | {"RecordingSid": "RE1", "RecordingStatus": "in-progress"},
    "transcription completed": OVER
    | {"TranscriptionSid": "TR1", "TranscriptionStatus": "completed", "TranscriptionText": "hi", "RecordingSid": "RE1"}
    | {"RecordingUrl": "https://x.example/RE1", "TranscriptionUrl": "https://x.example/TR1"},
    "transcription failed": GOING_ON
    | {"TranscriptionSid": "TR1", "TranscriptionStatus": "failed", "RecordingSid": "RE1"},
    "transcription transcription-stopped": TRANSCRIPTION | {"TranscriptionEvent": "transcription-stopped"},
    "partial-speech ": GOING_ON | {"UnstableSpeechResult": "he", "Stability": "0.5", "SequenceNumber": "1"},
    "debugger error": {"AccountSid": ACCOUNT, "Sid": "NO1", "Level": "ERROR", "PayloadType": "application/json"},
    "partial-speech": CALL | {"UnstableSpeechResult": "he", "StableSpeechResult": "hel", "SequenceNumber": "1"},
}
STATUSES = [
    ("voice", {"MessageSid": "SM1", "MessageStatus": "delivered"}, "message-status delivered"),
    ("messaging", CALL | {"CallStatus": "completed"}, "call-status completed"),
    ("messaging", CALL | {"CallStatus": "ringing", "CallbackSource": "call-progress-events"}, "call-status ringing"),
    ("conversations-classic", {"MessageSid": "SM1", "MessageStatus": "sent"}, "message-status sent"),
]
LOST = [
    ("voice", {"MessageSid": "SM1", "SmsStatus": "received", "From": "+15550100001", "To": "+15550100002"}),
    ("messaging", CALL | {"CallStatus": "ringing", "Direction": "inbound"}),
    ("conversations-classic", {"MessageSid": "SM1", "SmsStatus": "received"}),
]


def webhook(route, params):
    path = f"/webhooks/{route}"
    body = urlencode(params).encode()
    return SimulatedWebhook(path, "X1", "application/x-www-form-urlencoded", body, pairs=tuple(params.items()))


@pytest.mark.parametrize("route", ["messaging", "voice", "conversations-classic"])
@pytest.mark.parametrize(("reason", "params"), CALLBACKS.items(), ids=CALLBACKS)
async def test_a_callback_is_disregarded_by_name(receiver, route, reason, params):
    """A callback of another product is answered as its route's events are, and its event names kind and state."""
    await expect_disregarded(receiver, route, params, reason.strip())


@pytest.mark.parametrize(("route", "params", "reason"), STATUSES, ids=[reason for _, _, reason in STATUSES])
async def test_a_status_at_the_wrong_route(receiver, route, params, reason):
    """A status callback of a message or call at another source's route is disregarded by name."""
    await expect_disregarded(receiver, route, params, reason)


@pytest.mark.parametrize(("route", "params"), LOST, ids=[route for route, _ in LOST])
async def test_what_comes_in_at_the_wrong_route_stays_refused(receiver, route, params):
    """An incoming message or call at another source's route is refused and kept: disregarding it would lose it."""
    assert (await receiver.send(signed(webhook(route, params)))).status == 400
    (refused,) = await receiver.refused()
    assert refused.reason == "unreadable"


async def expect_disregarded(receiver, route, params, reason):
    request = signed(webhook(route, params))
    answers = [await receiver.send(request) for _ in range(2)]
    source = next(one for one in SOURCES.values() if one.path.endswith(f"/{route}"))
    assert [(answer.status, answer.body) for answer in answers] == [(200, source.answer)] * 2
    (entry,) = await receiver.entries()
    event = normalize(InboundEntry("1-0", source.name, ACCOUNT, entry[b"key"].decode(), "s", 1, entry[b"body"]))
    assert isinstance(event, Disregarded)
    assert event.reason == f"a callback that changes no participant: {reason}"
    assert event.cause.event_type == f"callback.{reason.partition(' ')[0]}"
