"""Remembering: the same result without the work, and a bound on what is kept."""

import sys

import pytest

from router.core.addresses import canonicalize
from router.core.caching import LONGEST, remembering
from router.core.signing.form import Form
from router.inbound.messaging import identify
from tests.inbound.samples import ACCOUNT, load_form


@pytest.fixture
def worked():
    """The calls of a function that remembers its last two results."""
    calls = []

    @remembering(2)
    def join(one, other):
        calls.append((one, other))
        return one + other

    return join, calls


def test_work_is_done_once(worked):
    """The second time the result is there; the oldest of too many is made again."""
    join, calls = worked
    assert [join("a", "b"), join("a", "b"), join("b", "a")] == ["ab", "ab", "ba"]
    assert calls == [("a", "b"), ("b", "a")]
    join("c", "c")
    assert join("a", "b") == "ab"
    assert calls[2:] == [("c", "c"), ("a", "b")]


def test_nothing_long_is_kept(worked):
    """What is longer than any address is worked out each time, and displaces nothing."""
    join, calls = worked
    join("a", "b")
    for _ in range(2):
        assert len(join("x", "y" * LONGEST)) == LONGEST + 1
    join("a", "b")
    assert len(calls) == 3


def test_what_outsiders_choose_is_bounded_in_bytes():
    """A sender as long as a body is right, and not remembered: neither its canonical form nor its subject."""
    long = "+1" + "5" * 100_000
    form = Form(dict(load_form("sms")) | {"From": long})
    assert references_taken(long, lambda: canonicalize("SMS", long)) == 0
    assert references_taken(long, lambda: identify(form, default_account=ACCOUNT)) == 0
    assert identify(form, default_account=ACCOUNT).subject.startswith(f"SMS|{long}|")


def test_references_tell_what_is_remembered(worked):
    """What is kept is referred to: else the test above would show nothing."""
    join, _ = worked
    short = f"+1555{LONGEST:07}"
    assert references_taken(short, lambda: join(short, "")) > 0


def references_taken(text, function):
    """Call a function; returns how many more refer to the text afterwards."""
    before = sys.getrefcount(text)
    function()
    return sys.getrefcount(text) - before
