"""The fields of an entry, decoded, and raw for those who may see that."""

from __future__ import annotations

import orjson
import pytest

from router.operations.contents import show_fields
from tests.support.accounts import CUSTOMER, OURS

FIELDS = {
    b"source": b"messaging",
    b"subject": f"SMS|{CUSTOMER}|{OURS}".encode(),
    b"body": f"From=%2B{CUSTOMER[1:]}&Body=hello\x1b[2J".encode(),
    b"n\xff": f"to {CUSTOMER}".encode(),
}


def test_private_values_are_masked():
    """Names, ids and types stay; there is no raw text."""
    shown = show_fields(FIELDS, unmasked=False)
    assert [one["name"] for one in shown] == ["source", "subject", "body", "n\\xff"]
    assert CUSTOMER[1:] not in str(shown)
    assert shown[0]["lines"] == ["messaging"]
    assert {one["raw"] for one in shown} == {None}


def test_an_operator_sees_the_values_and_the_raw_text():
    """Decoded line by line, each of them printable."""
    body = show_fields(FIELDS, unmasked=True)[2]
    assert body["lines"] == [f"From: {CUSTOMER}", "Body: hello\\x1b[2J"]
    assert body["raw"] == FIELDS[b"body"].decode()


@pytest.mark.parametrize("value", [b"", b"\xff\x00", b"[" * 5000, b"{}", b"\xed\xa0\x80"])
@pytest.mark.parametrize("unmasked", [False, True])
def test_nonsense_is_shown_as_far_as_it_can_be_read(value, unmasked):
    """Anybody with access to Redis may have written it."""
    for name in (b"event", b"body", b"command", b"x"):
        (shown,) = show_fields({name: value}, unmasked=unmasked)
        assert all(line.isprintable() for line in shown["lines"])
        assert orjson.dumps(shown)
