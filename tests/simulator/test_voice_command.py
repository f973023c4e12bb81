"""`simulate voice`: which webhook it sends, and what it reports about the response."""

from __future__ import annotations

import pytest

from router.__main__ import make_parser
from router.core.signing.form import parse_form
from router.inbound.voice import read_call
from router.simulator.voice import STATUSES, call, call_sid
from router.simulator.voice_command import follow_call, make_call
from tests.support.accounts import ACCOUNT

ATTACHING = b'<Response><Start><Transcription conversationConfiguration="c"/></Start></Response>'
RINGING = call(account_sid=ACCOUNT, sender="+15551230001", recipient="+15557650000", sid="CA1")


def webhook(*options):
    arguments = make_parser().parse_args(["simulate", "voice", *options])
    sent = make_call(arguments, ACCOUNT)
    return sent, dict(sent.pairs)


def test_equal_numbers_make_the_same_call():
    """A duplicate has the same CallSid, as have the states of one call; another call has another."""
    (first, ringing), (again, _), (_, over) = webhook(), webhook(), webhook("--status", "completed")
    assert first == again
    assert ringing["CallSid"] == over["CallSid"] == call_sid("+15551230001", "+15557650000")
    assert (ringing["CallStatus"], over["CallStatus"]) == ("ringing", "completed")
    assert webhook("--new")[1]["CallSid"] != ringing["CallSid"]
    assert webhook("--sid", "CA7")[1]["CallSid"] == "CA7"


@pytest.mark.parametrize("status", STATUSES)
def test_every_state(status):
    """All states of a call can be sent; only a final state has a duration."""
    _, params = webhook("--status", status)
    assert params["CallStatus"] == status
    assert ("CallDuration" in params) == (status in {"completed", "busy", "failed", "no-answer", "canceled"})


def test_the_ai_agent_hands_over():
    """The request to `action` is about the same call, as Twilio sends it at the end of a session."""
    sent, params = webhook("--handoff-data", '{"reason": "billing"}')
    assert (sent.path, params["CallSid"]) == ("/webhooks/voice", call_sid("+15551230001", "+15557650000"))
    assert (params["CallStatus"], params["SessionStatus"]) == ("in-progress", "ended")
    assert params["HandoffData"] == '{"reason": "billing"}'
    assert params["SessionId"].startswith("VX")
    (event,) = [read_call(parse_form(sent.body))]
    assert (event.is_handoff, event.handoff_data) == (True, '{"reason": "billing"}')
    assert webhook("--handoff-data", "sales")[0] != sent
    assert webhook("--anonymous", "--handoff-data", "sales")[1]["From"] == "+266696687"


def test_the_session_of_the_ai_agent_fails():
    """Without handoff data, and with an error."""
    sent, params = webhook("--session-failed")
    assert (params["SessionStatus"], "HandoffData" in params) == ("failed", False)
    assert read_call(parse_form(sent.body)).is_handoff


@pytest.mark.parametrize(
    "options", [("--status", "completed", "--handoff-data", "x"), ("--session-failed", "--status", "busy")]
)
def test_one_state_at_a_time(options, capsys):
    """A call that is over is not handed over."""
    with pytest.raises(SystemExit):
        webhook(*options)
    assert "not allowed with" in capsys.readouterr().err


def test_a_withheld_number():
    """A withheld number is written as Twilio writes it."""
    assert webhook("--anonymous")[1]["From"] == "+266696687"


async def test_the_report_without_a_sandbox():
    """The report names a missing sandbox, or says that the TwiML attaches nothing; a call that ended needs neither."""
    report = await follow_call({}, RINGING, b'<?xml version="1.0"?><Response/>')
    assert report.split("\n  ") == ["<Response/>", "the TwiML attaches the call to no conversation"]
    assert "no sandbox to attach the call: set TWILIO_CONVERSATIONS_URL" in await follow_call({}, RINGING, ATTACHING)
    nowhere = {
        "TWILIO_CONVERSATIONS_URL": "http://127.0.0.1:1",
        "TWILIO_API_KEY": "SK1",
        "TWILIO_API_SECRET": "made-up",
    }
    assert "no sandbox attached the call" in await follow_call(nowhere, RINGING, ATTACHING)
    over = call(account_sid=ACCOUNT, sender="+1", recipient="+2", sid="CA1", status="completed")
    assert "sandbox" not in await follow_call(nowhere, over, ATTACHING)
