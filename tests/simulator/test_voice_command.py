"""`simulate voice`: which webhook it sends, and what it says about the answer."""

from __future__ import annotations

import pytest

from router.__main__ import make_parser
from router.simulator.voice import STATUSES, call, call_sid
from router.simulator.voice_command import connect_call, voice_webhook
from tests.support.accounts import ACCOUNT

ATTACHING = b'<Response><Start><Transcription conversationConfiguration="c"/></Start></Response>'
RINGING = call(account_sid=ACCOUNT, sender="+15551230001", recipient="+15557650000", sid="CA1")


def webhook(*options):
    arguments = make_parser().parse_args(["simulate", "voice", *options])
    sent = voice_webhook(arguments, ACCOUNT)
    return sent, dict(sent.pairs)


def test_the_same_again_is_the_same_call():
    """A repeat has the same CallSid, as have the states of one call; another call has another."""
    (first, ringing), (again, _), (_, over) = webhook(), webhook(), webhook("--status", "completed")
    assert first == again
    assert ringing["CallSid"] == over["CallSid"] == call_sid("+15551230001", "+15557650000")
    assert (ringing["CallStatus"], over["CallStatus"]) == ("ringing", "completed")
    assert webhook("--new")[1]["CallSid"] != ringing["CallSid"]
    assert webhook("--sid", "CA7")[1]["CallSid"] == "CA7"


@pytest.mark.parametrize("status", STATUSES)
def test_every_state(status):
    """All states of a call can be sent; only an end tells how long it was."""
    _, params = webhook("--status", status)
    assert params["CallStatus"] == status
    assert ("CallDuration" in params) == (status in {"completed", "busy", "failed", "no-answer", "canceled"})


def test_anonymous():
    """A withheld number is written as Twilio writes it."""
    assert webhook("--anonymous")[1]["From"] == "+266696687"


async def test_what_is_said_without_a_sandbox():
    """Nobody plays Twilio's part where there is no sandbox, and there is none to play where nothing is attached."""
    said = await connect_call({}, RINGING, b'<?xml version="1.0"?><Response/>')
    assert said.split("\n  ") == ["<Response/>", "the answer puts the call into no conversation"]
    assert "no sandbox is known that could play Twilio's part" in await connect_call({}, RINGING, ATTACHING)
    nowhere = {
        "TWILIO_CONVERSATIONS_URL": "http://127.0.0.1:1",
        "TWILIO_API_KEY": "SK1",
        "TWILIO_API_SECRET": "made-up",
    }
    assert "no sandbox plays Twilio's part" in await connect_call(nowhere, RINGING, ATTACHING)
    over = call(account_sid=ACCOUNT, sender="+1", recipient="+2", sid="CA1", status="completed")
    assert "sandbox" not in await connect_call(nowhere, over, ATTACHING)
