"""A delivery: raw fields, shown as text without ever failing."""

from __future__ import annotations

import pytest

from router.streams.delivery import LONGEST_PAUSE, SHORTEST_PAUSE, Delivery, Later, StreamRef, pause_of, size_of


@pytest.mark.parametrize(
    ("name", "text"),
    [("plain", "hi"), ("missing", ""), ("broken", "a\\xffb"), ("umlaut", "ö")],
)
def test_a_field_is_shown_as_text_whatever_it_holds(name, text):
    """A missing field is empty, and bytes that are not UTF-8 are shown as such."""
    fields = {b"plain": b"hi", b"broken": b"a\xffb", b"umlaut": "ö".encode()}
    assert Delivery(StreamRef(0, "s"), "1-0", fields).text(name) == text


def test_a_deliverys_content_is_not_in_its_repr():
    """Bodies and addresses do not get into tracebacks and logs by accident."""
    assert "secret" not in repr(Delivery(StreamRef(0, "s"), "1-0", {b"body": b"secret"}))


def test_a_delivery_weighs_what_its_values_do():
    """Names are the same for all, and small."""
    assert size_of(Delivery(StreamRef(0, "s"), "1-0", {b"body": b"x" * 1_000, b"source": b"email"})) == 1_005


@pytest.mark.parametrize(
    ("later", "tries", "expected"),
    [
        (Later("", 0.05), 0, 0.05),
        (Later("", 0.05), 3, 0.4),
        (Later("", 0.05), 99, LONGEST_PAUSE),
        (Later("", 60.0), 4, 60.0),
        (Later("", 0.0), 0, SHORTEST_PAUSE),
        (Later("", 0.05, longest=1.0), 99, 1.0),
    ],
)
def test_pauses(later, tries, expected):
    """A pause doubles up to a limit, the verdict's own where it has one, and is never shorter than asked."""
    assert pause_of(later, tries) == pytest.approx(expected)
