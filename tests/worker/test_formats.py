"""Data of other releases: earlier formats are read, a later one is left alone until its release takes it.

The data is kept here as each release wrote it; it is not made by the code that is tested.
"""

from __future__ import annotations

import pytest

from router.core.keys import RESOLVER
from router.core.ledger.marker import Result
from router.streams.delivery import Done, Later
from router.streams.store.ledgers import LedgerQuery
from tests.support.accounts import ACCOUNT, CONFIGURATION, CUSTOMER, OURS
from tests.support.waiting import until

CONVERSATION = "conv_conversation_01m7w9zwnqf81rbzmvad0wbymv"
PARTICIPANT = "conv_participant_01m7w9zwnqf3vbpv664xfnytnd"
#: The SMS of `message_of`, as an inbound entry of each format.
ENTRY = {
    b"source": b"messaging",
    b"account": ACCOUNT.encode(),
    b"key": f"{ACCOUNT}:messaging:SM1".encode(),
    b"subject": f"SMS|{CUSTOMER}|{OURS}".encode(),
    b"received_at": b"1767787200000000",
    b"body": (
        f"MessageSid=SM{1:032x}&AccountSid={ACCOUNT}&From=%2B{CUSTOMER[1:]}&To=%2B{OURS[1:]}&Body=hi&NumMedia=0"
    ).encode(),
}
ENTRIES = {"1": ENTRY, "2": ENTRY | {b"format": b"2"}}
#: A conversation with one announced customer, as a ledger of each format.
MARKER = (
    '{{{format}"version":[1767787200000000,1767787200000000],"digest":"4f2a7c9b01d3e586","type":"CUSTOMER",'
    '"is_present":true,"is_ours":false,"stay":1,"target":"ai-agent","addresses":["SMS|{customer}"],"calls":[],'
    '"has_hung_up":false}}'
)
LEDGER = {
    "rev": "1",
    "status": "ACTIVE",
    "version": "1767787200000000.1767787200000000",
    "configuration_id": CONFIGURATION,
    "target": "ai-agent",
    "reason": "default",
    "day": "20460",
    "r:SMS": OURS,
    f"p:{PARTICIPANT}": MARKER.format(format="", customer=CUSTOMER),
    f"a:SMS|{CUSTOMER}": PARTICIPANT,
}
LEDGERS = {
    "1": LEDGER,
    "2": LEDGER | {"format": "2", f"p:{PARTICIPANT}": MARKER.format(format='"format":"2",', customer=CUSTOMER)},
    "3": LEDGER | {"format": "3", f"p:{PARTICIPANT}": f"3AAZHywgYMABPKnybAdPlhgEh0\tSMS|{CUSTOMER}"},
    "3, marker of 1": LEDGER | {"format": "3"},
}
#: What a later release may have made of them: nothing of it is as this release expects it.
LATER_LEDGER = {"rev": "7", "format": "4", "state": '{"open":true}', f"p:{PARTICIPANT}": '{"format":"4","stays":{}}'}
LATER_MARKER = LEDGERS["3"] | {f"p:{PARTICIPANT}": '{"format":"4","version":"2026-01-07","stays":{}}'}
PACKED_MARKER = LEDGERS["3"] | {f"p:{PARTICIPANT}": "4 in another form"}


async def put_ledger(harness, fields):
    """Store a ledger as another process left it."""
    key = harness.keys.conversation(ACCOUNT, CONVERSATION)
    await harness.redis.delete(key)
    await harness.redis.hset(key, mapping=fields)
    await harness.redis.expire(key, 3600)


def removal(harness):
    """A callback that says that the customer has left."""
    return harness.callback("PARTICIPANT_REMOVED", shown(second=5))


def shown(*, second=0, name=None, address=CUSTOMER):
    """The customer as the API shows it."""
    return {
        "id": PARTICIPANT,
        "conversationId": CONVERSATION,
        "accountId": ACCOUNT,
        "name": name,
        "type": "CUSTOMER",
        "profileId": None,
        "addresses": [{"channel": "SMS", "address": address, "channelId": None}],
        "createdAt": "2026-01-07T12:00:00.000Z",
        "updatedAt": f"2026-01-07T12:00:0{second}.000Z",
    }


def communication():
    """Something that the customer said, as the API shows it."""
    return {
        "id": "conv_communication_01m7w9zwnqf81rbzmvad0wbymv",
        "conversationId": CONVERSATION,
        "accountId": ACCOUNT,
        "author": {"address": CUSTOMER, "channel": "SMS", "participantId": PARTICIPANT},
        "content": {"type": "TEXT", "text": "hi"},
        "recipients": [],
        "channelId": f"SM{1:032x}",
        "createdAt": "2026-01-07T12:00:00.500Z",
        "updatedAt": "2026-01-07T12:00:00.500Z",
    }


async def stored(harness):
    """Return the ledger as it is in Redis."""
    fields = await harness.redis.hgetall(harness.keys.conversation(ACCOUNT, CONVERSATION))
    return {name.decode(): value.decode() for name, value in fields.items()}


@pytest.mark.parametrize("number", ENTRIES)
async def test_entries_of_the_last_two_formats_are_read(harness, number):
    """An entry that the release before appended leads to the same participant as one of this release."""
    await harness.redis.xadd(harness.inbound.key, ENTRIES[number])
    assert await harness.work(await harness.deliveries()) == [Done()]
    (entry,) = await harness.entries()
    assert (entry.type, entry.data.address) == ("participant.joined", CUSTOMER)


@pytest.mark.parametrize("number", LEDGERS)
async def test_ledgers_and_markers_of_earlier_formats_are_read(harness, number):
    """A customer whom a release before announced leaves once, and the ledger has this release's format afterwards."""
    await put_ledger(harness, LEDGERS[number])
    assert await harness.settle(removal(harness)) == [Result.LEFT]
    assert await harness.types() == ["left"]
    ledger = await stored(harness)
    assert (ledger["rev"], ledger["format"]) == ("2", "3")
    assert ledger[f"p:{PARTICIPANT}"].startswith("3")
    assert f"a:SMS|{CUSTOMER}" not in ledger


@pytest.mark.parametrize("number", LEDGERS)
async def test_events_after_an_upgrade_lead_to_the_same_entries(harness, number):
    """A customer of an earlier release is not announced again; what comes next is published once, in order."""
    await put_ledger(harness, LEDGERS[number])
    calls = await harness.total()
    added, renamed, moved = shown(), shown(second=1, name="Ana"), shown(second=2, name="Ana", address="+15551239999")
    says = harness.callback("COMMUNICATION_CREATED", communication())
    callbacks = [harness.callback("PARTICIPANT_ADDED", added), says]
    callbacks += [harness.callback("PARTICIPANT_UPDATED", one) for one in (renamed, moved)]
    for webhook in (*callbacks, removal(harness), *callbacks, removal(harness)):
        await harness.settle(webhook)
    assert [entry.type.partition(".")[2] for entry in await harness.published()] == [
        "received",
        "updated",
        "updated",
        "left",
    ]
    assert {entry.subject for entry in await harness.published()} == {PARTICIPANT}
    assert await harness.total() == calls
    ledger = await stored(harness)
    assert [name for name in ledger if name.startswith("a:")] == []


async def test_what_this_release_writes_carries_its_format(harness):
    """Entry, ledger and marker name their version."""
    assert await harness.settle(harness.sms()) == [Done()]
    ((_, entry),) = await harness.redis.xrange(harness.inbound.key)
    assert entry[b"format"] == b"2"
    (key,) = [key async for key in harness.redis.scan_iter("*:conversation:*")]
    ledger = await harness.redis.hgetall(key)
    assert ledger[b"format"] == b"3"
    markers = [value for name, value in ledger.items() if name.startswith(b"p:")]
    assert markers
    assert all(marker.startswith(b"3") for marker in markers)


async def test_a_later_entry_waits_and_is_said_once(harness, lines):
    """Entries of a later release are pending, make no dead letter and are logged once; other customers are served."""
    await harness.ensure_group()
    for number in range(3):
        later = {b"format": b"3", b"account": ACCOUNT.encode(), b"subject": b"s%d" % number, b"what": b"unknown"}
        await harness.redis.xadd(harness.inbound.key, later)
    async with harness.consuming():
        await harness.append(harness.sms())
        await until(harness.types)
    assert await harness.types() == ["joined"]
    assert await harness.dead_letters() == []
    assert await harness.redis.xlen(harness.inbound.key) == 4
    (line,) = lines("format.other")
    assert line["reason"] == "inbound entry in format 3; this release reads 1 and 2"
    assert lines("event.waiting") == []
    assert lines("batch.failed") == []


@pytest.mark.parametrize(
    "later", [LATER_LEDGER, LATER_MARKER, PACKED_MARKER], ids=["ledger", "marker", "packed marker"]
)
async def test_a_later_ledger_is_not_changed_and_its_events_wait(harness, lines, later):
    """A callback about a conversation of a later release waits; the batch around it is settled."""
    await put_ledger(harness, later)
    settled = await harness.settle(harness.sms("+15550000001"), removal(harness), removal(harness))
    assert settled[0] == Done()
    assert [type(one) for one in settled[1:]] == [Later, Later]
    assert await stored(harness) == later
    assert await harness.types() == ["joined"]
    (line,) = lines("format.other")
    assert "in format 4; this release reads 1, 2 and 3" in line["reason"]
    assert lines("batch.failed") == []


async def test_an_event_that_waits_goes_on_once_its_release_has_taken_it(harness):
    """A process that reads the format goes on with the event, here after the ledger has become readable."""
    await put_ledger(harness, LATER_LEDGER)
    (delivery,) = await harness.receive(removal(harness))
    assert [type(one) for one in await harness.work([delivery])] == [Later]
    await put_ledger(harness, LEDGERS["2"])
    assert await harness.finish(delivery) is Result.LEFT


async def test_a_commit_over_a_ledger_that_became_later_is_refused(harness):
    """A later release that commits between this one's reading and its commit wins: the revision differs."""
    await put_ledger(harness, LEDGERS["2"])
    store = harness.make_resolver().singles._store
    (ledger,) = await store.read_ledgers([LedgerQuery(ACCOUNT, CONVERSATION, ("rev", "format", "status"))])
    await put_ledger(harness, LATER_LEDGER)
    ledger.put("status", "CLOSED")
    assert await store.commit([ledger]) == [False]
    assert (await stored(harness))["format"] == "4"


async def test_a_dead_letter_keeps_its_format(harness):
    """An entry that can never succeed is replayed in the format in which it was appended."""
    await harness.ensure_group()
    async with harness.consuming():
        await harness.redis.xadd(harness.inbound.key, {b"format": b"2", b"source": b"none", b"subject": b"s"})
        await until(harness.dead_letters)
    (letter,) = await harness.dead_letters()
    assert letter[b"format"] == b"2"
    assert (await harness.redis.xpending(harness.inbound.key, RESOLVER))["pending"] == 0
