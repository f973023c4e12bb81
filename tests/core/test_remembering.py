"""Remembering: the same result without the work, and a bound on what is kept."""

import sys

import pytest

from router.core.addresses import canonicalize
from router.core.form import Form
from router.core.remembering import LONGEST, remembering
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
    references = sys.getrefcount(long)
    assert canonicalize("SMS", long) == long
    assert identify(form, default_account=ACCOUNT).subject.startswith(f"SMS|{long}|")
    assert sys.getrefcount(long) == references
    short = f"+1555{len(long):07}"  # made here, so that nobody else refers to it
    references = sys.getrefcount(short)
    assert canonicalize("SMS", short) == short
    assert sys.getrefcount(short) > references
