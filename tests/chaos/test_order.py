"""Which order is promised, case by case."""

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
        "nobody knows how it came in",
    ],
)
def test_arrivals_are_promised_in_order_except_past_another_spool(first, second, is_promised):
    """What is in Redis stays first; what is in one spool stays before what the same receiver takes later."""
    verdict = check_arrivals([[first, second]])
    assert (verdict.looked_at, verdict.left_out) == (int(is_promised), int(not is_promised))
    assert bool(verdict.wrong) == is_promised


ONE = Settled("first", 1, 9, "pair")
TWO = Settled("second", 2, 8, "pair")


@pytest.mark.parametrize(
    ("two", "is_promised"),
    [(TWO, True), (replace(TWO, subject="conversation"), False)],
    ids=["one subject", "another source"],
)
def test_departures_are_promised_in_order_within_a_subject(two, is_promised):
    """What came in first goes out first, whoever settles it; different sources may overtake each other."""
    verdict = check_departures([[two, ONE]])
    assert (verdict.looked_at, verdict.left_out) == (int(is_promised), int(not is_promised))
    assert bool(verdict.wrong) == is_promised


def test_overtakes_are_counted_whoever_may():
    """The gap is measured: a later message that was published first, and none where the order was kept."""
    assert count_overtakes([[ONE, TWO], [replace(ONE, published=7), TWO]]) == 1
