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
    await expect_disregarded(receiver, route, params, reason)


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
