"""Watching streams from a position on, without a consumer group."""

from __future__ import annotations

import contextlib

import pytest

from router.core.entries import ClosedData, EntryCause, EntryConversation, EntryParticipant, JoinedData, LeftData
from router.core.keys import Keys, Target
from router.streams.store import watch as module
from router.streams.store.watch import find_joined, last_ids, participant_streams, watch
from tests.support.accounts import ACCOUNT
from tests.support.entries import NONSENSE, fields_of, make_entry

pytestmark = pytest.mark.real


def make(participant_id, *, target="ai-agent", address="+14155550101", channel="SMS", model=JoinedData):
    extra = {"origin": "created"} if model is JoinedData else {}
    data = model(
        target=target,
        reason="default",
        account_id=ACCOUNT,
        conversation=EntryConversation(id="c1"),
        cause=EntryCause(source="s", event_type="t", idempotency_key="k", received_at="2026-01-07T12:00:00Z"),
        channel=channel,
        address=address,
        participant=EntryParticipant(id=participant_id, conversation_id="c1", account_id=ACCOUNT),
        **extra,
    )
    return make_entry(data, subject=participant_id)


def make_closing():
    data = ClosedData.model_validate(make("any").data.model_dump())
    return make_entry(data, subject="c1")


async def publish(redis, keys, entry, partition=0, entry_id="*"):
    await redis.xadd(keys.participants(partition, entry.data.target), fields_of(entry), id=entry_id)


async def take(redis, position, count):
    found = []
    async with contextlib.aclosing(watch(redis, position)) as reads:
        async for rows in reads:
            found += rows
            if len(found) >= count:
                return found
    return found


async def ends_of(redis, keys):
    return await last_ids(redis, participant_streams(keys))


async def test_watching_begins_where_the_streams_end(redis, keys):
    """Earlier entries are not shown; later ones are, of all streams, and the position advances."""
    await publish(redis, keys, make("old"))
    position = await ends_of(redis, keys)
    assert set(position) == set(participant_streams(keys)) == {keys.participants(0, target) for target in Target}
    assert position[keys.participants(0, "human-agent")] == "0-0"
    new = [make("p1"), make("p2", target="human-agent")]
    for entry in new:
        await publish(redis, keys, entry)
    found = [row.entry() for row in await take(redis, position, 2)]
    assert sorted(found, key=lambda one: one.subject) == new
    assert position == await ends_of(redis, keys)


async def test_a_read_without_entries_yields_no_rows(redis, keys, monkeypatch):
    """The caller can then do something else or end."""
    monkeypatch.setattr(module, "_BLOCK", 10)
    async with contextlib.aclosing(watch(redis, await ends_of(redis, keys))) as reads:
        assert [await anext(reads), await anext(reads)] == [[], []]


@pytest.mark.parametrize("fields", NONSENSE)
async def test_nonsense_is_a_row_that_is_no_entry(redis, keys, fields):
    """Whatever stands on a stream, the entry behind it is read."""
    position = await ends_of(redis, keys)
    await redis.xadd(keys.participants(0, "ai-agent"), fields)
    await publish(redis, keys, make("good"))
    nonsense, good = await take(redis, position, 2)
    assert (nonsense.entry(), good.entry().subject) == (None, "good")


async def test_a_key_that_is_no_stream_leaves_the_others(redis, keys, monkeypatch):
    """Its row says what is wrong, and the rows of the others come all the same."""
    monkeypatch.setattr(module, "_BLOCK", 10)
    await redis.set(keys.participants(0, "human-agent"), "text", ex=60)
    position = await ends_of(redis, keys)
    await publish(redis, keys, make("good"))
    found = {row.stream: row for row in await take(redis, position, 2)}
    assert found[keys.participants(0, "ai-agent")].entry().subject == "good"
    assert "WRONGTYPE" in found[keys.participants(0, "human-agent")].problem


@pytest.mark.parametrize("fields", NONSENSE)
async def test_nonsense_with_the_address_that_is_searched_for(redis, keys, fields):
    """A joined entry is found behind nonsense that looks like one."""
    await publish(redis, keys, make("good"))
    await redis.xadd(
        keys.participants(0, "ai-agent"), {"type": "participant.joined", **fields, "event": '"+14155550101"'}
    )
    assert (await find_joined(redis, keys, "SMS", "+14155550101")).subject == "good"


async def test_a_joined_entry_is_found_by_channel_and_address(redis, keys):
    """Only a `participant.joined` of exactly this address on this channel counts; None if there is none."""
    await publish(redis, keys, make("sms"))
    await publish(redis, keys, make("chat", channel="CHAT", target="human-agent"))
    await publish(redis, keys, make("left", model=LeftData))
    await publish(redis, keys, make("longer", address="+141555501012"))
    await redis.xadd(keys.participants(0, "ai-agent"), {"type": "participant.joined"})
    assert (await find_joined(redis, keys, "SMS", "+14155550101")).subject == "sms"
    assert (await find_joined(redis, keys, "CHAT", "+14155550101")).subject == "chat"
    assert await find_joined(redis, keys, "SMS", "+1415555") is None
    assert await find_joined(redis, keys, "SMS", 'a"b') is None


async def test_a_customer_of_a_closed_conversation_is_found_unless_an_open_one_is_wanted(redis, keys):
    """What was closed since is passed over; a conversation that was opened afterwards is not."""
    await publish(redis, keys, make("first"))
    await publish(redis, keys, make_closing())
    assert (await find_joined(redis, keys, "SMS", "+14155550101")).subject == "first"
    assert await find_joined(redis, keys, "SMS", "+14155550101", is_open=True) is None
    entry = make("second")
    later = entry.data.model_copy(update={"conversation": EntryConversation(id="c2")})
    await publish(redis, keys, make_entry(later, subject="second"))
    assert (await find_joined(redis, keys, "SMS", "+14155550101", is_open=True)).subject == "second"


async def test_an_address_with_characters_that_json_escapes_is_found(redis, keys):
    """An identity may contain quotes and letters beyond ASCII."""
    await publish(redis, keys, make("chat", channel="CHAT", address='J"ö\\'))
    assert (await find_joined(redis, keys, "CHAT", 'J"ö\\')).subject == "chat"


@pytest.mark.parametrize("newest", list(Target))
async def test_the_newest_entry_is_found_on_any_stream(redis, newest):
    """After a change of target the newer entry counts, also across partitions."""
    keys = Keys(partitions=2)
    other = next(target for target in Target if target is not newest)
    await publish(redis, keys, make("older", target=other), entry_id="1-0")
    await publish(redis, keys, make("newest", target=newest), partition=1, entry_id="2-0")
    await publish(redis, keys, make("between", target=other), partition=1, entry_id="1-5")
    assert (await find_joined(redis, keys, "SMS", "+14155550101")).subject == "newest"


@pytest.mark.parametrize("sealed", ["x", "s1:AAAA"])
async def test_an_entry_that_hides_its_seal_is_no_entry(redis, keys, sealed):
    """Whoever writes the name of the seal with an escape ends no watching: the row is shown as nonsense."""
    text = fields_of(make("p1"))["event"]
    event = text[:-1] + f',"seale\\u0064":"{sealed}"}}'
    position = await last_ids(redis, participant_streams(keys))
    await redis.xadd(keys.participants(0, Target.AI_AGENT), {"type": "participant.joined", "id": "1", "event": event})
    (row,) = await take(redis, position, 1)
    assert row.entry() is None
