"""A delivery: raw fields as text, its size, and the pauses that verdicts ask for."""

from __future__ import annotations

import pytest

from router.streams.delivery import LONGEST_PAUSE, SHORTEST_PAUSE, Delivery, Later, StreamRef, pause_of, size_of


@pytest.mark.parametrize(
    ("name", "text"),
    [("plain", "hi"), ("missing", ""), ("broken", "a\\xffb"), ("umlaut", "ö")],
)
def test_any_field_can_be_read_as_text(name, text):
    """A missing field is empty, and bytes that are not UTF-8 are escaped."""
    fields = {b"plain": b"hi", b"broken": b"a\xffb", b"umlaut": "ö".encode()}
    assert Delivery(StreamRef(0, "s"), "1-0", fields).text(name) == text


def test_the_repr_of_a_delivery_has_no_content():
    """Bodies and addresses do not reach tracebacks and logs by accident."""
    assert "secret" not in repr(Delivery(StreamRef(0, "s"), "1-0", {b"body": b"secret"}))


def test_the_size_of_a_delivery_is_that_of_its_values():
    """Field names are few and small."""
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
def test_the_pause_of_a_verdict_doubles_up_to_a_limit(later, tries, expected):
    """The limit is the verdict's own if it has one; no pause is shorter than asked."""
    assert pause_of(later, tries) == pytest.approx(expected)
