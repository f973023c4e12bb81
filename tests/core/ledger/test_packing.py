"""Packed markers: every marker survives, the usual ones are short, and the form is fixed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from router.core.events import Version
from router.core.formats import OtherFormatError
from router.core.ledger.fields import FieldNotReadError
from router.core.ledger.ledger import Ledger
from router.core.ledger.marker import Marker
from router.core.ledger.packing import pack_marker, read_marker
from tests.core.builders import ACCOUNT, CONVERSATION, RECEIVED_AT

#: The longest value of a hash that Redis keeps in one piece of memory, and the longest name.
MOST_BYTES = 64
DIGEST = "4f2a7c9b01d3e586"
VERSION = Version(RECEIVED_AT, RECEIVED_AT + 283_130)
CALL = "CA00000000000000000000000000000001"
PHONE, USER_ID = "WHATSAPP|+4915155550101", "WHATSAPP|US.13491208655302741918"

names = st.one_of(st.text(max_size=70), st.from_regex(r"(SMS|WHATSAPP|VOICE)\|\+[1-9][0-9]{6,14}", fullmatch=True))
digests = st.one_of(st.from_regex(r"[0-9a-f]{16}", fullmatch=True), st.text(max_size=20))
times = st.one_of(st.integers(), st.integers(0, 2**51))
markers = st.builds(
    Marker,
    version=st.builds(Version, times, times),
    digest=digests,
    type=st.one_of(st.sampled_from(["CUSTOMER", "AI_AGENT", "HUMAN_AGENT", "AGENT", "UNKNOWN", ""]), st.text()),
    is_present=st.booleans(),
    is_ours=st.booleans(),
    stay=st.integers(0, 300),
    target=st.one_of(st.sampled_from([None, "ai-agent", "human-agent"]), st.text()),
    addresses=st.lists(names, max_size=4).map(tuple),
    calls=st.lists(names, max_size=3).map(tuple),
    has_hung_up=st.booleans(),
    aliases=st.lists(names, max_size=3).map(tuple),
)


def make(**changes):
    """Return the marker of an announced customer at an SMS number."""
    fields = {"type": "CUSTOMER", "target": "ai-agent", "addresses": ("SMS|+14155550101",), "digest": DIGEST}
    return Marker(**({"version": VERSION} | fields | changes))


def whole(marker):
    """Return the text of a marker, of both fields."""
    text, rest = pack_marker(marker)
    return text + (rest or "")


@given(markers)
def test_every_marker_survives(marker):
    """What is read is what was packed, whatever a marker holds."""
    found = read_marker(whole(marker))
    assert found == marker
    assert isinstance(found.version, Version)


@given(markers)
def test_a_marker_survives_in_a_ledger_and_takes_no_field_too_many(marker):
    """A ledger reads the marker that it was given, and removes the second field once it is not needed."""
    ledger = Ledger("router", ACCOUNT, CONVERSATION, {})
    ledger.put_marker("p1", make(addresses=(PHONE,), aliases=(USER_ID, USER_ID.replace("US", "DE"))))
    assert ledger.fields.keys() == {"p:p1", "q:p1"}
    ledger.put_marker("p1", marker)
    assert ledger.marker("p1") == marker
    assert ledger.fields.keys() - {"p:p1", "q:p1"} == set()
    ledger.put_marker("p1", make())
    assert ledger.fields.keys() == {"p:p1"}
    assert ledger.changes["q:p1"] is None
    assert ledger.markers() == {"p1": make()}


def test_a_number_may_be_longer_than_a_field():
    """Times that no API gives are kept too."""
    marker = make(version=Version(RECEIVED_AT, 10**60))
    text, rest = pack_marker(marker)
    assert rest is None or text
    assert read_marker(whole(marker)) == marker


@given(markers)
def test_no_address_is_divided(marker):
    """Each address, call and alias is in one of the two fields as a whole: an erasure searches for addresses."""
    fields = [field for field in pack_marker(marker) if field is not None]
    for name in (*marker.addresses, *marker.calls, *marker.aliases):
        assert any(name in field or json.dumps(name, ensure_ascii=False)[1:-1] in field for field in fields)


@pytest.mark.parametrize(
    ("marker", "fields"),
    [
        pytest.param(make(), 1, id="sms"),
        pytest.param(make(addresses=("SMS|+491515555010199",)), 1, id="longest-number"),
        pytest.param(make(addresses=(PHONE,)), 1, id="whatsapp"),
        pytest.param(make(addresses=("EMAIL|ana@example.com",)), 1, id="mail"),
        pytest.param(make(is_present=False, target=None, stay=12), 1, id="left"),
        pytest.param(make(type="AI_AGENT", target=None, is_ours=True), 1, id="ours"),
        pytest.param(make(version=Version(RECEIVED_AT, RECEIVED_AT + 86_400_000_000)), 1, id="a-day-late"),
        pytest.param(make(addresses=(PHONE,), aliases=(USER_ID,)), 2, id="whatsapp-with-id"),
        pytest.param(make(addresses=("VOICE|+14155550101",), calls=(CALL,)), 2, id="call"),
        pytest.param(make(addresses=("EMAIL|" + "a" * 40 + "@example.com",)), 2, id="long-mail"),
    ],
)
def test_usual_markers_are_short(marker, fields):
    """The markers of usual customers have one short field, or two."""
    found = [field for field in pack_marker(marker) if field is not None]
    assert len(found) == fields
    assert all(len(field.encode()) <= MOST_BYTES for field in found)


@pytest.mark.parametrize(
    ("marker", "text"),
    [
        pytest.param(make(), "3AAZHywgYMABPKnybAdPlhgEh283130\tSMS|+14155550101", id="customer"),
        pytest.param(
            make(type="AI_AGENT", target=None, is_ours=True),
            "3AAZHywgYMABPKnybAdPlhgEz283130\tSMS|+14155550101",
            id="ours",
        ),
        pytest.param(
            make(type="UNKNOWN", target="human-agent", stay=3),
            "3AAZHywgYMABPKnybAdPlhgOJ283130\tSMS|+14155550101",
            id="unknown",
        ),
        pytest.param(
            make(type="HUMAN_AGENT", target=None, version=Version(RECEIVED_AT, RECEIVED_AT - 2870)),
            "3AAZHywgYMABPKnybAdPlhgFJ-2870\tSMS|+14155550101",
            id="person",
        ),
        pytest.param(
            make(type="AGENT", addresses=("VOICE|+14155550101",), calls=(CALL,), has_hung_up=True, is_present=False),
            f"3AAZHywgYMABPKnybAdPlhgFs283130\tVOICE|+14155550101\t{CALL}",
            id="call",
        ),
        pytest.param(
            make(type="", addresses=(PHONE, "SMS|+1"), aliases=(USER_ID,)),
            f"3AAZHywgYMABPKnybAdPlhgEJ283130\t{PHONE}\nSMS|+1\t\t{USER_ID}",
            id="aliases",
        ),
    ],
)
def test_the_form_is_fixed(marker, text):
    """Packed markers are stored data: this text was written by the first release that packed them."""
    assert whole(marker) == text
    assert read_marker(text) == marker


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"type": "SUPERVISOR"}, id="new-type"),
        pytest.param({"target": "nobody"}, id="new-target"),
        pytest.param({"stay": 256}, id="many-stays"),
        pytest.param({"digest": ""}, id="erased"),
        pytest.param({"digest": DIGEST.upper()}, id="another-digest"),
        pytest.param({"addresses": ("CHAT|a\tb",)}, id="tab"),
        pytest.param({"addresses": ("CHAT|a\nb",)}, id="line-feed"),
        pytest.param({"aliases": ("",)}, id="empty"),
        pytest.param({"version": Version(-1, 0)}, id="before-1970"),
    ],
)
def test_a_marker_that_does_not_fit_is_in_json(changes):
    """An unusual marker is stored as one field of JSON, with its version."""
    text, rest = pack_marker(make(**changes))
    assert (json.loads(text)["format"], rest) == ("3", None)
    assert read_marker(text) == make(**changes)


@pytest.mark.parametrize(
    "text",
    ["3", "3x", "33", whole(make())[:20], "3" + "!" * 24 + "1", "3" + "A" * 24 + "x", "{", "", "[]"],
)
def test_what_is_no_marker_is_refused(text):
    """A broken text raises ValidationError, like broken JSON."""
    with pytest.raises(ValidationError):
        read_marker(text)


@pytest.mark.parametrize("text", ["4", "4" + whole(make())[1:], '{"format":"4","version":"2026"}', "9xyz"])
def test_a_later_marker_is_left_to_its_release(text):
    """A packed marker and one in JSON say their version; a later one is not read."""
    with pytest.raises(OtherFormatError, match="this release reads 1, 2 and 3"):
        read_marker(text)


def test_a_marker_is_not_read_or_replaced_without_its_second_field():
    """A marker of two fields needs both; one is never written over a second field that was not read."""
    text, _ = pack_marker(make(addresses=(PHONE,), aliases=(USER_ID,)))
    ledger = Ledger("router", ACCOUNT, CONVERSATION, {"p:p1": text}, frozenset({"p:p1"}))
    with pytest.raises(FieldNotReadError, match="q:p1"):
        ledger.marker("p1")
    with pytest.raises(FieldNotReadError, match="q:p1"):
        ledger.put_marker("p1", make())
    assert not ledger.changes
