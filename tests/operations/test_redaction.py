"""Printable bodies: ids and types are shown, addresses and texts are masked."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.operations.redaction import masked_path, plain, shown_body, shown_content
from tests.receiver.samples import PRIVATE, SAMPLES
from tests.support.accounts import CUSTOMER, OURS

FORM, JSON = "application/x-www-form-urlencoded", "application/json"


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=list(SAMPLES))
def test_no_address_and_no_text_is_shown(sample):
    """The sample of every source is printed without a private value."""
    webhook = sample()
    shown = "\n".join(shown_body(webhook.content_type, webhook.body))
    assert not [one for one in PRIVATE if one in shown]


def test_a_form_shows_names_ids_and_masked_values():
    """Ids and states identify the message; sender and text are masked."""
    body = b"MessageSid=SM1234567890&From=%2B15551239876&Body=my+secret&SmsStatus=received&NumMedia=0&Blank="
    assert shown_body(f"{FORM}; charset=utf-8", body) == [
        "MessageSid: SM1234567890",
        "From: +155***76",
        "Body: m***",
        "SmsStatus: received",
        "NumMedia: 0",
        "Blank: ",
    ]


def test_json_shows_its_leaves_by_path():
    """Types and ids are shown, other values are masked."""
    body = {"eventType": "PARTICIPANT_ADDED", "data": {"name": "Ana", "addresses": [{"address": CUSTOMER}], "n": None}}
    assert shown_body(JSON, json.dumps(body).encode()) == [
        "eventType: PARTICIPANT_ADDED",
        "data.name: A***",
        "data.addresses[0].address: +155***01",
        "data.n: None",
    ]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [(JSON, b"{"), (JSON, b"\xff"), (JSON, b"[" * 100_000), (FORM, b"&".join([b"a=1"] * 5000))],
    ids=["half", "bytes", "deep", "many"],
)
def test_an_unreadable_body_is_one_line(content_type, body):
    """A body that does not fit its content type raises nothing."""
    assert shown_body(content_type, body) == ["(cannot be read as its content type)"]


def test_a_long_body_is_shown_in_part():
    """Lines, line length and depth are bounded, and the cut is shown."""
    lines = shown_body(FORM, b"&".join([b"N%d=1" % number for number in range(500)]))
    assert lines[-1] == "... and 400 more"
    assert len(shown_body(FORM, b"x" * 5000)[0]) < 200
    assert shown_body(JSON, b'{"a":' * 50 + b"1" + b"}" * 50) == ["a.a.a.a.a.a.a.a: (1 members)"]


@given(st.sampled_from([FORM, JSON, "text/plain", ""]), st.binary(max_size=200))
def test_any_bytes_become_printable_lines(content_type, body):
    """No input raises or contains control characters."""
    assert all(line.isprintable() for line in shown_body(content_type, body))
    assert masked_path(body).isprintable()


@given(st.one_of(st.text(st.characters()), st.binary()))
def test_any_text_becomes_one_printable_line(value):
    """The line can be encoded, whatever it was made from."""
    shown = plain(value)
    assert shown.isprintable()
    assert shown.encode().decode() == shown


def test_query_values_are_masked_except_the_digest():
    """Parameters of a URL may be private; the digest of the body is not."""
    path = f"/webhooks/messaging?bodySHA256=abc&From=%2B{OURS[1:]}&flag".encode()
    assert masked_path(path) == "/webhooks/messaging?bodySHA256=abc&From=+155***00&flag"
    assert masked_path(b"/webhooks/messaging") == "/webhooks/messaging"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"From=%2B15551230001&Body=Hi+there", ["From: +15551230001", "Body: Hi there"]),
        (
            b'{"data": {"address": "+15551230001", "name": "\\u202eA"}}',
            ["data.address: +15551230001", "data.name: \\u202eA"],
        ),
    ],
    ids=["form", "json"],
)
def test_an_operator_may_see_the_values(body, shown):
    """Still on one printable line each."""
    assert shown_content(body, unmasked=True) == shown
    assert not [line for line in shown_content(body) if "15551230001" in line]
