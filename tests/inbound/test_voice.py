"""Source `voice`: the events of calls, their keys, and the calls that are disregarded."""

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.calls import GOING_ON, OVER
from router.core.errors import UnreadableError
from router.core.events import CallReported, Disregarded
from router.core.signing.form import parse_form
from router.inbound.voice import identify, is_callback, normalize, read_call
from tests.inbound.samples import encode_form, load_form, make_entry
from tests.support.accounts import ACCOUNT, OTHER_ACCOUNT

SID = "CA00000000000000000000000000000001"


def pairs(**changes):
    return parse_form(encode_form(load_form("call", **changes)))


def event(**changes):
    return normalize(make_entry(encode_form(load_form("call", **changes)), "voice"))


def test_incoming_call():
    """An incoming call is reported with both ends and its SID."""
    call = event()
    assert isinstance(call, CallReported)
    assert (call.call_sid, call.status, call.is_over) == (SID, "ringing", False)
    assert call.customer == Address("VOICE", "+14155550101")
    assert call.recipient == Address("VOICE", "+15557650001")
    assert (call.cause.event_type, call.cause.resource_id, call.account_id) == ("call.ringing", SID, ACCOUNT)


@pytest.mark.parametrize("status", sorted(GOING_ON | OVER))
def test_every_status(status):
    """All documented statuses are known; the final ones end the call."""
    call = event(CallStatus=status)
    assert isinstance(call, CallReported)
    assert call.is_over == (status in OVER)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Direction": "outbound-api"}, "an outgoing call (outbound-api)"),
        ({"Direction": "outbound-dial"}, "an outgoing call (outbound-dial)"),
        ({"ParentCallSid": "CA" + "2" * 32}, "a leg of another call"),
        ({"CallStatus": "dreaming"}, "unknown CallStatus dreaming"),
    ],
)
def test_disregarded_by_name(changes, reason):
    """Outgoing calls, child legs and unknown statuses are disregarded, with the reason."""
    call = event(**changes)
    assert isinstance(call, Disregarded)
    assert call.reason == reason


def test_withheld_number():
    """A call with a withheld number has no customer."""
    assert event(From="anonymous").customer is None
    assert event(From=None).customer is None


def test_app_that_called_no_number():
    """A call of a Voice SDK app may have no recipient."""
    call = event(From="client:ana", To="")
    assert (call.customer, call.recipient) == (Address("VOICE", "ana"), None)
    assert event(To=None).recipient is None


def test_identity():
    """The key of a call has account, SID and status; its subject is the SID."""
    identity = identify(pairs(), default_account=OTHER_ACCOUNT)
    assert (identity.account_id, identity.key, identity.subject) == (ACCOUNT, f"{ACCOUNT}:voice:{SID}:ringing", SID)
    assert identify(pairs(AccountSid=None), default_account=OTHER_ACCOUNT).account_id == OTHER_ACCOUNT


def test_requests_during_a_call_have_their_own_keys():
    """A handoff has another key than the status that it repeats, and than another handoff; a duplicate has the same."""
    plain = identify(pairs(CallStatus="in-progress"), default_account=ACCOUNT)
    session = {"CallStatus": "in-progress", "SessionStatus": "ended"}
    first, second = (
        identify(pairs(**session, HandoffData=data), default_account=ACCOUNT) for data in ("billing", "sales")
    )
    again = identify(pairs(**session, HandoffData="billing"), default_account=ACCOUNT)
    assert len({plain.key, first.key, second.key}) == 3
    assert again.key == first.key
    assert {plain.subject, first.subject} == {SID}


def test_status_callback_with_a_recording():
    """The status callback of a call's end may carry a recording and is not a request during the call."""
    call = read_call(pairs(CallStatus="completed", RecordingUrl="https://api.example.com/RE1"))
    assert call.is_over
    assert not call.is_during_call
    identity = identify(pairs(CallStatus="completed", RecordingUrl="https://x"), default_account=ACCOUNT)
    assert identity.key == f"{ACCOUNT}:voice:{SID}:completed"


@pytest.mark.parametrize(
    ("changes", "is_handoff"),
    [
        ({"SessionStatus": "ended", "HandoffData": '{"reason":"billing"}'}, True),
        ({"SessionStatus": "failed"}, True),
        ({"SessionStatus": "ended"}, False),
        ({"SessionStatus": "completed"}, False),
        ({"Digits": "1"}, False),
        ({"DialCallStatus": "completed"}, False),
        ({}, False),
    ],
)
def test_handoff(changes, is_handoff):
    """A call is handed over if the AI agent says so or failed, not if its session simply ended."""
    assert read_call(pairs(CallStatus="in-progress", **changes)).is_handoff == is_handoff


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"SessionStatus": "ended", "HandoffData": ' {"reason":"billing"} '}, '{"reason":"billing"}'),
        ({"SessionStatus": "failed", "HandoffData": "x"}, "x"),
        ({"SessionStatus": "failed"}, ""),
        ({"SessionStatus": "ended"}, None),
        ({"SessionStatus": "failed", "CallStatus": "completed"}, None),
        ({"Digits": "1"}, None),
        ({}, None),
    ],
)
def test_the_event_of_a_handoff(changes, expected):
    """The event has HandoffData as it came: empty if the session failed without any, None if nothing is handed over."""
    assert event(**{"CallStatus": "in-progress"} | changes).handoff == expected


def test_the_end_of_a_payment_is_a_request_during_the_call():
    """It is no new call, which would be answered as one: its key differs from that of the call's status."""
    call = read_call(pairs(CallStatus="in-progress", Result="payment-connector-error"))
    assert (call.is_during_call, call.is_handoff) == (True, False)


@pytest.mark.parametrize("changes", [{}, {"AnsweredBy": "human"}, {"ConferenceSid": "CF1"}, {"RecordingSid": "RE1"}])
def test_a_request_for_twiml_is_no_callback(changes):
    """What a request for TwiML may tell beside its call does not make it a callback."""
    assert not is_callback(pairs(CallStatus="ringing", **changes))


def test_status_shows_nothing_that_is_no_status():
    """The status is part of the key and of log lines: a number in its place appears in neither."""
    odd = pairs(CallStatus="+15551230001 busy")
    assert identify(odd, default_account=ACCOUNT).key.endswith(":?busy")
    call = event(CallStatus="+15551230001 busy")
    assert (call.cause.event_type, call.reason) == ("call.?busy", "unknown CallStatus ?busy")


@pytest.mark.parametrize("name", ["CallSid", "CallStatus"])
@pytest.mark.parametrize("value", [None, "", " "])
def test_required_parameters(name, value):
    """A form without CallSid or CallStatus is unreadable, and the error names the parameter."""
    for act in (lambda form: identify(form, default_account=ACCOUNT), read_call):
        with pytest.raises(UnreadableError, match=name):
            act(pairs(**{name: value}))


def test_long_call_sid():
    """A CallSid that is too long for a key is refused."""
    with pytest.raises(UnreadableError, match="CallSid"):
        identify(pairs(CallSid="CA" + "1" * 200), default_account=ACCOUNT)


def test_parameters_in_another_charset():
    """Only the needed parameters must be UTF-8."""
    body = encode_form(load_form("call", CallerName=None)) + b"&CallerName=Jos%E9"
    assert isinstance(normalize(make_entry(body, "voice")), CallReported)
    with pytest.raises(UnreadableError, match="From"):
        normalize(make_entry(encode_form(load_form("call", From=None)) + b"&From=%E9", "voice"))


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=8))
def test_any_form(pairs):
    """Any form has an identity or is unreadable."""
    known = [(b"CallSid", b"CA1"), (b"CallStatus", b"ringing"), (b"To", b"+1")]
    for some in (pairs, known + pairs):
        try:
            identity = identify(parse_form(urlencode(some).encode()), default_account=ACCOUNT)
        except UnreadableError:
            continue
        assert ":voice:" in identity.key
