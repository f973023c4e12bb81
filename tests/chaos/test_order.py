"""The order that is promised, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.order import Arrival, Settled, check_arrivals, check_departures, count_overtakes

DIRECT = Arrival("first", 5, frozenset({0}), accepted=True, spooled=frozenset())
SPOOLED = Arrival("first", 5, frozenset({0}), accepted=False, spooled=frozenset({0}))
LATER = Arrival("second", 3, frozenset({0}), accepted=True, spooled=frozenset())


@pytest.mark.parametrize(
    ("first", "second", "is_promised"),
    [
        (DIRECT, LATER, True),
        (DIRECT, replace(LATER, tried=frozenset({1})), True),
        (SPOOLED, LATER, True),
        (SPOOLED, replace(LATER, accepted=False, spooled=frozenset({0})), True),
        (SPOOLED, replace(LATER, tried=frozenset({1})), False),
        (SPOOLED, replace(LATER, tried=frozenset({0, 1})), False),
        (replace(SPOOLED, spooled=frozenset({0, 1})), replace(LATER, tried=frozenset({0, 1})), True),
        (replace(SPOOLED, spooled=frozenset()), LATER, False),
    ],
    ids=[
        "direct, same receiver",
        "direct, other receiver",
        "spooled, then direct at the same receiver",
        "spooled twice at the same receiver",
        "spooled, then the other receiver",
        "spooled, then perhaps the other receiver",
        "spooled at both, then either",
        "unknown arrival",
    ],
)
def test_arrivals_are_promised_in_order_except_past_another_spool(first, second, is_promised):
    """A message in Redis stays first, and one in a spool stays before what the same receiver accepts later."""
    check = check_arrivals([[first, second]])
    assert (check.checked, check.not_promised) == (int(is_promised), int(not is_promised))
    assert bool(check.wrong) == is_promised


ONE = Settled("first", 1, 9, "pair")
TWO = Settled("second", 2, 8, "pair")


@pytest.mark.parametrize(
    ("two", "is_promised"),
    [(TWO, True), (replace(TWO, subject="conversation"), False)],
    ids=["one subject", "another source"],
)
def test_departures_are_promised_in_order_within_a_subject(two, is_promised):
    """Within a subject, the message that came in first goes out first; different sources may overtake each other."""
    check = check_departures([[two, ONE]])
    assert (check.checked, check.not_promised) == (int(is_promised), int(not is_promised))
    assert bool(check.wrong) == is_promised


def test_overtakes_are_counted():
    """A later message that was published first counts once, and messages in order do not count."""
    assert count_overtakes([[ONE, TWO], [replace(ONE, published=7), TWO]]) == 1
