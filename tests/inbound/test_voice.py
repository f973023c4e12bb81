"""Source `voice`: which event a call's form is, its key, and what is disregarded."""

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.calls import GOING_ON, OVER
from router.core.errors import UnreadableError
from router.core.events import CallReported, Disregarded
from router.core.signing.form import parse_form
from router.inbound.voice import identify, normalize, read_call
from tests.inbound.samples import ACCOUNT, OTHER_ACCOUNT, encode_form, load_form, make_entry

SID = "CA00000000000000000000000000000001"


def pairs(**changes):
    return parse_form(encode_form(load_form("call", **changes)))


def event(**changes):
    return normalize(make_entry(encode_form(load_form("call", **changes)), "voice"))


def test_incoming_call():
    """A ringing call is reported with both ends; its cause names it."""
    call = event()
    assert isinstance(call, CallReported)
    assert (call.call_sid, call.status, call.is_over) == (SID, "ringing", False)
    assert call.customer == Address("VOICE", "+14155550101")
    assert call.recipient == Address("VOICE", "+15557650001")
    assert (call.cause.event_type, call.cause.resource_id, call.account_id) == ("call.ringing", SID, ACCOUNT)


@pytest.mark.parametrize("status", sorted(GOING_ON | OVER))
def test_every_state(status):
    """All documented states are known; the final ones end the call."""
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
    """What is no customer's call ends with its reason."""
    call = event(**changes)
    assert isinstance(call, Disregarded)
    assert call.reason == reason


def test_withheld_number():
    """A caller without a number is a call all the same."""
    assert event(From="anonymous").customer is None
    assert event(From=None).customer is None


def test_an_app_that_called_no_number():
    """A Voice SDK app may leave `To` empty: a call all the same, to nobody in particular."""
    call = event(From="client:ana", To="")
    assert (call.customer, call.recipient) == (Address("VOICE", "ana"), None)
    assert event(To=None).recipient is None


def test_identity():
    """A call is named by its account, its SID and its state; its events are worked on in order."""
    identity = identify(pairs(), default_account=OTHER_ACCOUNT)
    assert (identity.account_id, identity.key, identity.subject) == (ACCOUNT, f"{ACCOUNT}:voice:{SID}:ringing", SID)
    assert identify(pairs(AccountSid=None), default_account=OTHER_ACCOUNT).account_id == OTHER_ACCOUNT


def test_requests_in_the_course_of_a_call_have_keys_of_their_own():
    """A handoff is not the duplicate of the state that it comes with; the same request again is."""
    plain = identify(pairs(CallStatus="in-progress"), default_account=ACCOUNT)
    session = {"CallStatus": "in-progress", "SessionStatus": "ended"}
    first, second = (
        identify(pairs(**session, HandoffData=data), default_account=ACCOUNT) for data in ("billing", "sales")
    )
    again = identify(pairs(**session, HandoffData="billing"), default_account=ACCOUNT)
    assert len({plain.key, first.key, second.key}) == 3
    assert again.key == first.key
    assert {plain.subject, first.subject} == {SID}


def test_status_callback_of_the_end_is_no_request():
    """The end of a call carries a recording, perhaps, and is the end all the same."""
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
    """People take over where the AI agent says so or has failed, and not where its session is simply over."""
    assert read_call(pairs(CallStatus="in-progress", **changes)).is_handoff == is_handoff


@pytest.mark.parametrize("name", ["CallSid", "CallStatus"])
@pytest.mark.parametrize("value", [None, "", " "])
def test_what_is_needed(name, value):
    """Without the call or its state there is no event; the error names the parameter."""
    for act in (lambda form: identify(form, default_account=ACCOUNT), read_call):
        with pytest.raises(UnreadableError, match=name):
            act(pairs(**{name: value}))


def test_a_sid_has_an_end():
    """What is much longer than a CallSid is none: keys are made of it."""
    with pytest.raises(UnreadableError, match="CallSid"):
        identify(pairs(CallSid="CA" + "1" * 200), default_account=ACCOUNT)


def test_what_is_not_needed_may_be_in_any_charset():
    """A caller's name in Latin-1 does not cost the call; what is needed must be readable."""
    body = encode_form(load_form("call", CallerName=None)) + b"&CallerName=Jos%E9"
    assert isinstance(normalize(make_entry(body, "voice")), CallReported)
    with pytest.raises(UnreadableError, match="From"):
        normalize(make_entry(encode_form(load_form("call", From=None)) + b"&From=%E9", "voice"))


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=8))
def test_any_form(pairs):
    """Whatever a form holds, it has an identity or is unreadable."""
    known = [(b"CallSid", b"CA1"), (b"CallStatus", b"ringing"), (b"To", b"+1")]
    for some in (pairs, known + pairs):
        try:
            identity = identify(parse_form(urlencode(some).encode()), default_account=ACCOUNT)
        except UnreadableError:
            continue
        assert ":voice:" in identity.key
