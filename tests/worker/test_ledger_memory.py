"""The memory of a conversation in Redis: its hash is in one piece, and takes half of what it took before."""

from __future__ import annotations

import json

import pytest

from router.core.addresses import Address
from router.core.ledger.ledger import Ledger
from router.core.ledger.marker import PARTICIPANT, Result
from router.streams.delivery import Done
from router.streams.store.ledgers import Store
from tests.core.builders import CONVERSATION, TO_NOBODY, make_fact, make_participant
from tests.support.accounts import ACCOUNT, CONFIGURATION, CUSTOMER
from tests.worker.test_formats import LEDGERS, put_ledger, removal

pytestmark = pytest.mark.real

#: The id of an API's participant is as long as this one.
NAME = "conv_participant_01m8q8ftv6ff0rgm49fb95vn{:02d}"


async def the_ledger(harness):
    """Return the key of the only ledger."""
    (key,) = [key async for key in harness.redis.scan_iter("*:conversation:*")]
    return key.decode()


def to_json(marker):
    """Return the text of a marker in format 2."""
    return json.dumps({"format": "2"} | marker._asdict(), separators=(",", ":"))


async def write_as_before(harness, key):
    """Write a ledger as the release before wrote it, under another key of the same length; return that."""
    fields = {name.decode(): text.decode() for name, text in (await harness.redis.hgetall(key)).items()}
    markers = Ledger("router", ACCOUNT, CONVERSATION, fields).markers()
    texts = {f"{PARTICIPANT}{one}": to_json(marker) for one, marker in markers.items()}
    before = {name: text for name, text in fields.items() if not name.startswith("q:")} | {"format": "2"}
    other = f"{key[:-1]}~"
    await harness.redis.hset(other, mapping=before | texts)
    await harness.redis.expire(other, 3600)
    return other


async def memory(harness, key):
    """Return the encoding of a hash, and its bytes."""
    return (await harness.redis.object("encoding", key)).decode(), await harness.redis.memory_usage(key, samples=0)


@pytest.mark.parametrize(
    ("channel", "share"),
    [("sms", 0.5), ("whatsapp", 0.5), pytest.param("whatsapp with an id", 0.57, id="a marker in two fields")],
)
async def test_a_conversation_of_two_takes_half_of_the_memory(harness, channel, share):
    """A customer and our side: one piece of memory, and half of the bytes of the format before."""
    more = {"ExternalUserId": "US.13491208655302741918"} if channel == "whatsapp with an id" else {}
    for _ in range(2):
        webhook = harness.sms() if channel == "sms" else harness.whatsapp(CUSTOMER, **more)
        assert await harness.settle(webhook) in ([Done()], [Result.KNOWN])
    key = await the_ledger(harness)
    encoding, size = await memory(harness, key)
    before = await memory(harness, await write_as_before(harness, key))
    assert (encoding, before[0]) == ("listpack", "hashtable")
    assert size <= share * before[1]


async def test_a_call_keeps_the_hash_in_one_piece(harness):
    """A caller, whose marker needs two fields, and the end of the call."""
    store = Store(harness.redis, harness.keys, marker_ttl=3600)
    ledger = store.make_ledger(ACCOUNT, CONVERSATION)
    ledger.put("configuration_id", CONFIGURATION)
    caller = make_fact(make_participant(NAME.format(1), Address("VOICE", CUSTOMER)), call_sid=f"CA{1:032x}")
    assert ledger.take_participant(caller).result is Result.JOINED
    assert await store.commit([ledger]) == [True]
    ledger = await store.read_whole(ACCOUNT, CONVERSATION)
    assert ledger.take_call_end(caller, f"CA{1:032x}").result is Result.LEFT
    assert await store.commit([ledger]) == [True]
    assert (await memory(harness, await the_ledger(harness)))[0] == "listpack"


async def test_a_group_of_ten_is_in_one_piece(harness):
    """Ten members, some of them ours, each at an address, with a burst."""
    store = Store(harness.redis, harness.keys, marker_ttl=3600)
    ledger = store.make_ledger(ACCOUNT, CONVERSATION)
    ledger.put("configuration_id", CONFIGURATION)
    ledger.put("burst", "4000 20000")
    for number in range(10):
        member = make_participant(NAME.format(number), Address("SMS", f"+1415555010{number}"))
        ledger.take_participant(make_fact(member, **({} if number % 3 else {"decision": TO_NOBODY})))
    assert await store.commit([ledger]) == [True]
    assert (await memory(harness, await the_ledger(harness)))[0] == "listpack"


@pytest.mark.parametrize("number", LEDGERS)
async def test_a_ledger_of_an_earlier_format_takes_no_more_memory_afterwards(harness, number):
    """A commit over a ledger that an earlier release wrote replaces what it changes."""
    await put_ledger(harness, LEDGERS[number])
    key = await the_ledger(harness)
    _, before = await memory(harness, key)
    assert await harness.settle(removal(harness)) == [Result.LEFT]
    assert (await memory(harness, key))[1] <= before
