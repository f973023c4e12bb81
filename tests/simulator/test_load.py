"""A load of `simulate`: the customers, and the summary."""

from __future__ import annotations

from collections import Counter

import pytest

from router.simulator.load import LoadResult, address_of, customers_of, summarize
from router.simulator.options import parse_simulate


@pytest.mark.parametrize(
    ("first", "number", "address"),
    [
        ("+15551230001", 0, "+15551230001"),
        ("+15551230099", 1, "+15551230100"),
        ("+15559999999", 1, "+15560000000"),
        ("007", 5, "012"),
        ("ana@example.com", 0, "ana@example.com"),
        ("ana@example.com", 3, "ana-3@example.com"),
        ("ana7@host9.example.com", 3, "ana10@host9.example.com"),
        ("dana", 2, "dana-2"),
    ],
)
def test_each_customer_has_an_address_of_its_own(first, number, address):
    """The last digits are counted on, and stay as long as they are; a name gets a number."""
    assert address_of(first, number) == address


def test_customers_differ_in_their_address_only():
    """Everything else is as the command line says."""
    found = customers_of(parse_simulate(["sms", "--customers", "3", "--body", "hi", "--from", "+15557000008"]))
    assert [one.sender for one in found] == ["+15557000008", "+15557000009", "+15557000010"]
    assert {(one.body, tuple(one.kinds)) for one in found} == {("hi", ("sms",))}


def test_the_summary_counts_every_answer():
    """Accepted, refused with their statuses, those without an answer, and how long answers took."""
    seconds = [0.001 * number for number in range(1, 101)]
    lines = summarize(LoadResult(Counter({200: 90, 403: 6, 503: 3, 0: 1}), seconds, 2.0))
    assert lines == [
        "sent       100 in 2.0 s, 50/s",
        "accepted   90",
        "refused    6 (6 x 403)",
        "failed     4 (1 x no answer, 3 x 503)",
        "answers    p50 51.0 ms, p99 100.0 ms",
    ]


def test_an_empty_load_has_a_summary():
    """No answer is no division by nothing."""
    assert summarize(LoadResult(Counter(), [], 0.0))[-1] == "answers    p50 0.0 ms, p99 0.0 ms"
