"""Caching: results are reused, and memory is bounded."""

import sys

import pytest

from router.core.addresses import canonicalize
from router.core.caching import LONGEST, Results, remembering
from router.core.signing.form import Form
from router.inbound.messaging import identify
from tests.inbound.samples import load_form
from tests.support.accounts import ACCOUNT


@pytest.fixture
def worked():
    """The calls made to a cached function that keeps two results."""
    calls = []

    @remembering(2)
    def join(one, other):
        calls.append((one, other))
        return one + other

    return join, calls


def test_results_are_reused(worked):
    """A second call reuses the result; the oldest of too many is computed again."""
    join, calls = worked
    assert [join("a", "b"), join("a", "b"), join("b", "a")] == ["ab", "ab", "ba"]
    assert calls == [("a", "b"), ("b", "a")]
    join("c", "c")
    assert join("a", "b") == "ab"
    assert calls[2:] == [("c", "c"), ("a", "b")]


def test_long_arguments_are_not_cached(worked):
    """Arguments longer than any address are computed every time and displace nothing."""
    join, calls = worked
    join("a", "b")
    for _ in range(2):
        assert len(join("x", "y" * LONGEST)) == LONGEST + 1
    join("a", "b")
    assert len(calls) == 3


def test_outside_texts_are_bounded_in_bytes():
    """Neither the canonical form nor the subject of a sender as long as a body is kept."""
    long = "+1" + "5" * 100_000
    form = Form(dict(load_form("sms")) | {"From": long})
    assert references_taken(long, lambda: canonicalize("SMS", long)) == 0
    assert references_taken(long, lambda: identify(form, default_account=ACCOUNT)) == 0
    assert identify(form, default_account=ACCOUNT).subject.startswith(f"SMS|{long}|")


def test_references_show_what_is_cached(worked):
    """A cached text has more references: the test above would notice one."""
    join, _ = worked
    short = f"+1555{LONGEST:07}"
    assert references_taken(short, lambda: join(short, "")) > 0


def references_taken(text, function):
    """Call a function and return how many references to the text it left."""
    before = sys.getrefcount(text)
    function()
    return sys.getrefcount(text) - before


def test_results_of_one_text():
    """A function of one text is looked up by it, under the same bounds."""
    calls = []

    def double(text):
        calls.append(text)
        return text * 2

    results = Results(double, 2)
    long = "x" * (LONGEST + 1)
    assert [results["a"], results["a"], results[long], results[long]] == ["aa", "aa", long * 2, long * 2]
    assert calls == ["a", long, long]
    assert [results["b"], results["c"], results["a"]] == ["bb", "cc", "aa"]
    assert len(results) <= 2
