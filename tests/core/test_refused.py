"""Refused webhooks in the quarantine: complete after a round trip, and without passwords."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core import errors
from router.core.refused import CLASSES, LARGE, NOT_KEPT, REASONS, Bounds, Refused, from_fields, shown_headers
from tests.support.accounts import ACCOUNT

REFUSED = Refused(
    source="messaging",
    reason="signature",
    detail="X-Twilio-Signature does not match",
    status=403,
    received_at=1_767_787_200_000_000,
    method="POST",
    raw_path=b"/webhooks/messaging?x=%2B1",
    headers=(("Content-Type", "application/x-www-form-urlencoded"), ("X-Twilio-Signature", "abc=")),
    account_id=ACCOUNT,
    body=b"Body=x",
    is_whole=True,
)
HEADERS = st.lists(st.tuples(st.text(max_size=8), st.text(st.characters(), max_size=8)), max_size=4).map(tuple)


def through_redis(refused):
    return from_fields({name.encode(): value for name, value in refused.to_fields().items()})


def test_reasons_are_those_of_the_errors():
    """Every WebhookError has its own reason and so its own bound."""
    refusals = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.WebhookError)]
    assert {one.reason for one in refusals} == set(REASONS)


@given(st.binary(max_size=40), st.binary(max_size=20), HEADERS, st.booleans())
def test_entry_is_read_as_it_was_written(body, raw_path, headers, is_whole):
    """Any bytes in body, path and headers survive the round trip, as do digest and size."""
    refused = replace(REFUSED, body=body, raw_path=raw_path, headers=headers, is_whole=is_whole)
    again = through_redis(refused)
    assert again == refused
    assert (again.digest, again.size) == (refused.digest, refused.size)


@pytest.mark.parametrize("field", [b"headers", b"status", b"received_at"])
@pytest.mark.parametrize("value", [b"", b"\xff", b"{", b"[[1]]", b"7.5", b"null", b'["ab", 3]'])
def test_foreign_entries_are_readable(field, value):
    """A foreign entry is shown as far as possible and does not break the listing."""
    fields = {name.encode(): content for name, content in REFUSED.to_fields().items()} | {field: value}
    assert from_fields(fields).body == REFUSED.body
    assert from_fields({}).source == ""


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({"received_at": 5}, True),
        ({"reason": "account", "detail": "other", "status": 400}, True),
        ({"headers": (*REFUSED.headers, ("Date", "today"), ("X-Request-Id", "7"))}, True),
        ({"headers": tuple(reversed(REFUSED.headers))}, True),
        ({"body": b"Body=y"}, False),
        ({"raw_path": b"/webhooks/messaging"}, False),
        ({"source": "voice"}, False),
        ({"headers": (REFUSED.headers[0], ("X-Twilio-Signature", "other"))}, False),
        ({"headers": REFUSED.headers[1:]}, False),
    ],
)
def test_repeats_have_one_digest(change, is_same):
    """The same bytes with the same signature are one webhook, whatever the time and the reason."""
    assert (replace(REFUSED, **change).digest == REFUSED.digest) == is_same


def test_parts_cannot_be_shifted_into_each_other():
    """Moving bytes from the path to the body makes another digest."""
    assert replace(REFUSED, raw_path=b"/a", body=b"b").digest != replace(REFUSED, raw_path=b"/ab", body=b"").digest


def test_body_over_the_bound_is_left_out():
    """A webhook over the size limit is kept without its body and is marked as such."""
    assert REFUSED.within(Bounds(1, REFUSED.size, 60)) == REFUSED
    small = REFUSED.within(Bounds(1, REFUSED.size - 1, 60))
    assert (small.body, small.is_whole, small.headers) == (b"", False, REFUSED.headers)


def test_large_ones_are_a_class_of_their_own():
    """Of each reason they have bounds of their own, half as many bytes."""
    large = replace(REFUSED, body=b"x" * LARGE)
    assert (REFUSED.class_name, large.class_name) == ("signature", "signature-large")
    assert large.within(Bounds(1, 2 * large.size, 60)) == large
    assert large.within(Bounds(1, 2 * large.size - 1, 60)).body == b""
    assert {
        replace(REFUSED, reason=reason, body=body).class_name for reason in REASONS for body in (b"", large.body)
    } == {*CLASSES}


@pytest.mark.parametrize("name", ["Authorization", "authorization", "Proxy-Authorization", "COOKIE"])
def test_credentials_are_not_kept(name):
    """The name of a credentials header is kept, its value is not."""
    assert shown_headers([(name, "Basic c2VjcmV0"), ("Host", "h")]) == ((name, NOT_KEPT), ("Host", "h"))


def test_text_of_any_length_and_kind_is_bounded():
    """Unverified texts of a webhook cannot make an endless or unwritable entry."""
    again = through_redis(replace(REFUSED, account_id="\ud800" + "A" * 5000, detail="\udcff" * 5000, method="M" * 999))
    assert len(again.account_id) < 100
    assert len(again.detail) < 5000
    assert len(again.method) == 64


@pytest.mark.parametrize(
    "fields",
    [
        {b"status": b"9" * 5000, b"received_at": b"9" * 5000},
        {b"headers": b"[" * 200_000},
        {b"headers": b"[[1, " + b"9" * 5000 + b"]]"},
    ],
    ids=["numbers", "nesting", "number in headers"],
)
def test_values_that_python_refuses_are_shown_as_empty(fields):
    """A number or a nesting that Python refuses to parse does not break the listing."""
    refused = from_fields(fields)
    assert (refused.status, refused.received_at, refused.headers) == (0, 0, ())
