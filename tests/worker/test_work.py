"""One delivery of an inbound entry: its fields are read without an exception, or refused with one that is declared."""

import pytest

from router.core.errors import RouterError, UnreadableError
from router.core.judging.context import AccountRules
from router.core.judging.rules import EventRules
from router.core.sealing import NO_KEYS
from router.settings.policy_file import read_policy
from router.streams.delivery import Delivery, StreamRef
from router.worker.account_cache import AccountCache
from router.worker.work import begin, inbound_reader, read_inbound, subject_of
from tests.support.policies import PLAIN
from tests.worker.test_account_cache import FakeStore


def make_delivery(fields):
    return Delivery(StreamRef(0, "s"), "1-0", fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {b"source": b"fax"},
        {b"source": b"voice"},
        {b"source": b"\xff"},
        {b"source": b"messaging", b"body": b"\xff=%ff"},
        {b"source": b"messaging", b"body": b"From=%2B1"},
        {b"source": b"conversations", b"body": b"[" * 100_000},
        {b"source": b"conversations", b"received_at": b"\xd9\xa1", b"body": b"{}"},
    ],
)
def test_an_unreadable_entry_is_refused(fields):
    """An entry that cannot be read raises UnreadableError, which makes it a dead letter."""
    rules = EventRules({}, AccountRules(read_policy(PLAIN)), clock=lambda: 0)
    accounts = AccountCache(FakeStore(), always_own=frozenset(), clock=lambda: 0)
    with pytest.raises(RouterError) as caught:
        begin(rules, accounts, make_delivery(fields), {}, inbound_reader(NO_KEYS))
    assert isinstance(caught.value, UnreadableError)


@pytest.mark.parametrize("received", [b"", b"x", b"-1", b"1.5", "²".encode(), b"9" * 5000], ids=lambda value: value[:4])
def test_a_time_of_receipt_that_is_no_number_is_zero(received):
    """A `received_at` that is not a number is read as 0."""
    assert read_inbound(make_delivery({b"received_at": received}), {}).received_at == 0


def test_the_subject_of_a_delivery_is_its_field():
    """The subject of an entry is its `subject` field."""
    assert subject_of(make_delivery({b"subject": b"a|b"})) == "a|b"
