"""The ledger of a conversation grows with its participants and nothing else; an event reads only its own part."""

from __future__ import annotations

import pytest

from router.core.addresses import Address
from router.core.keys import Keys
from router.core.ledger.communications import from_message, take_communication
from router.core.ledger.marker import fields_for
from router.streams.store.ledgers import LedgerQuery, Store
from tests.core.builders import ACCOUNT, CONVERSATION, make_fact, make_message, make_participant

pytestmark = pytest.mark.real
MEMBERS, AT_ONCE = 2_000, 400
KEYS = Keys()
KEY = KEYS.conversation(ACCOUNT, CONVERSATION)


def address_of(number):
    return Address("SMS", f"+1415{number:07d}")


@pytest.fixture
def store(redis):
    return Store(redis, KEYS, marker_ttl=3600)


async def read(store, *numbers):
    """Read the fields that an event about these participants needs."""
    fields = fields_for([f"p{number}" for number in numbers], [address_of(number) for number in numbers])
    (ledger,) = await store.read_ledgers([LedgerQuery(ACCOUNT, CONVERSATION, tuple(fields))])
    return ledger


async def join(store, *numbers):
    """Let participants join, all of them in one commit."""
    ledger = await read(store, *numbers)
    for number in numbers:
        ledger.take_participant(make_fact(make_participant(f"p{number}", address_of(number))))
    assert await store.commit([ledger]) == [True]


async def test_a_conversation_of_thousands_costs_an_event_what_one_of_two_costs(store, redis):
    """Each participant is two fields and less than a kilobyte; an event reads and writes only its own."""
    await join(store, 0, 1)
    few = len((await read(store, 0)).fields), await redis.memory_usage(KEY, samples=0)
    for first in range(2, MEMBERS, AT_ONCE):
        await join(store, *range(first, min(first + AT_ONCE, MEMBERS)))
    many = await read(store, 0)
    assert len(many.fields) == few[0]
    assert (await redis.memory_usage(KEY, samples=0) - few[1]) / MEMBERS < 1_000
    many.take_participant(make_fact(make_participant("p0", address_of(0), name="Ana"), version=2))
    assert len(many.changes) == 1
    assert await store.commit([many]) == [True]


async def test_communications_leave_nothing_in_the_ledger(store, redis):
    """A communication is claimed under a key of its own, which expires; the conversation's hash does not change."""
    await join(store, 0)
    before = await redis.hgetall(KEY)
    for start in range(0, 600, 100):
        ledger = await read(store, 0)
        for number in range(start, start + 100):
            message = make_message(customer=address_of(0), sid=f"SM{number:032x}")
            assert take_communication(ledger, from_message(message), text_limit=100)
        assert await store.commit([ledger]) == [True]
    assert await redis.hgetall(KEY) == before
    assert await redis.ttl(KEYS.communication(ACCOUNT, CONVERSATION, f"SM{599:032x}")) > 0
