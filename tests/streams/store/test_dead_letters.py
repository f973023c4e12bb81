"""Dead letters: every entry that is given up becomes one, with all of its fields, and is replayed once."""

from __future__ import annotations

import asyncio

import pytest

from router.core.keys import Keys
from router.streams.client.connection import RedisError
from router.streams.consuming.groups import ensure_group
from router.streams.delivery import Delivery, StreamRef
from router.streams.store import dead_letters
from router.streams.store.dead_letters import give_up, list_letters, replay_all

pytestmark = pytest.mark.real

GROUP = "resolver"
FIELDS = {b"body": bytes(range(256)), b"source": b"messaging", b"\xff": b"", b"replayed": b"earlier"}
FAILED_AT = "2026-01-07T12:00:00Z"
REPLAYED_AT = "2026-01-08T12:00:00Z"


async def deliver(redis, stream, count=1, fields=FIELDS):
    await ensure_group(redis, stream.key, GROUP)
    for _ in range(count):
        await redis.xadd(stream.key, fields)
    [[_, rows]] = await redis.xreadgroup(GROUP, "me", {stream.key: ">"})
    return [Delivery(stream, entry_id.decode(), found) for entry_id, found in rows]


async def make_letter(redis, keys, delivery, reason="it is poison", deliveries=3):
    return await give_up(
        redis,
        keys,
        delivery,
        group=GROUP,
        consumer="me",
        reason=reason,
        deliveries=deliveries,
        failed_at=FAILED_AT,
    )


async def letters_of(redis, keys):
    return [letter async for letter in list_letters(redis, keys)]


async def test_letters_that_are_added_while_listing_are_not_listed(redis, keys, stream, monkeypatch):
    """Replaying all of them ends, even if replayed entries fail again; they are read page by page."""
    monkeypatch.setattr(dead_letters, "_PAGE", 2)
    for delivery in await deliver(redis, stream, count=5):
        await make_letter(redis, keys, delivery)
    listed = []
    async for letter in list_letters(redis, keys):
        listed.append(letter.entry_id)
        await replay_all(redis, keys, [letter], replayed_at=REPLAYED_AT)
        [[_, [(entry_id, fields)]]] = await redis.xreadgroup(GROUP, "me", {stream.key: ">"})
        await make_letter(redis, keys, Delivery(stream, entry_id.decode(), fields))
    assert len(listed) == len(set(listed)) == 5
    assert len(await letters_of(redis, keys)) == 5


async def test_a_letter_has_its_origin_its_reason_and_every_byte_of_the_entry(redis, keys, stream):
    """The original fields are intact, and the entry is no longer pending."""
    [delivery] = await deliver(redis, stream)
    assert await make_letter(redis, keys, delivery) is True
    [letter] = await letters_of(redis, keys)
    assert letter.fields == FIELDS
    assert (letter.partition, letter.stream, letter.entry_id) == (0, stream.key, delivery.entry_id)
    assert (letter.group, letter.consumer, letter.reason) == (GROUP, "me", "it is poison")
    assert (letter.deliveries, letter.failed_at) == (3, FAILED_AT)
    assert (await redis.xpending(stream.key, GROUP))["pending"] == 0


async def test_an_entry_is_given_up_once(redis, keys, stream):
    """Two consumers that give up the same entry, or one that repeats it after a lost answer, make one letter."""
    [delivery] = await deliver(redis, stream)
    results = await asyncio.gather(*[make_letter(redis, keys, delivery) for _ in range(10)])
    assert results.count(True) == 1
    assert len(await letters_of(redis, keys)) == 1


async def test_an_entry_whose_letter_cannot_be_written_stays_pending(redis, keys, stream):
    """If the dead letters' key has another type nothing is acknowledged: the entry is not lost."""
    await redis.set(keys.dead_letters(0), "no stream", px=60_000)
    [delivery] = await deliver(redis, stream)
    with pytest.raises(RedisError, match="WRONGTYPE"):
        await make_letter(redis, keys, delivery)
    assert (await redis.xpending(stream.key, GROUP))["pending"] == 1
    await redis.delete(keys.dead_letters(0))
    assert await make_letter(redis, keys, delivery) is True


async def test_a_reason_that_cannot_be_encoded_is_escaped(redis, keys, stream):
    """A lone surrogate in an exception's text does not keep its entry from becoming a letter."""
    [delivery] = await deliver(redis, stream)
    assert await make_letter(redis, keys, delivery, reason="what is \ud800?") is True
    assert [letter.reason for letter in await letters_of(redis, keys)] == ["what is \\ud800?"]


async def test_all_letters_are_listed_over_pages_and_partitions(redis, monkeypatch):
    """Each is listed once, oldest first within its partition."""
    monkeypatch.setattr(dead_letters, "_PAGE", 3)
    keys = Keys(partitions=2)
    for partition, count in ((0, 7), (1, 3)):
        stream = StreamRef(partition, keys.inbound(partition))
        for number, delivery in enumerate(await deliver(redis, stream, count)):
            await make_letter(redis, keys, delivery, reason=f"{partition}-{number}")
    reasons = [letter.reason for letter in await letters_of(redis, keys)]
    assert reasons == [f"0-{number}" for number in range(7)] + [f"1-{number}" for number in range(3)]


async def test_letters_of_later_partitions_that_are_added_while_listing_are_not_listed(redis):
    """The end of each partition is fixed before the first letter, not when its turn comes."""
    keys = Keys(partitions=2)
    for partition in range(2):
        await redis.xadd(keys.dead_letters(partition), FIELDS)
    listed = []
    async for letter in list_letters(redis, keys):
        listed.append(letter.partition)
        await redis.xadd(keys.dead_letters(1), FIELDS)
    assert listed == [0, 1]


async def test_no_letters_is_an_empty_list(redis, keys):
    """Without a dead-letters stream there is nothing to list."""
    assert await letters_of(redis, keys) == []


async def test_a_foreign_entry_among_the_letters_is_listed(redis, keys):
    """An entry without an origin, or with bytes that are not text, is no error."""
    await redis.xadd(keys.dead_letters(0), {b"dead-reason": b"\xff", b"x": b"1", b"dead-deliveries": b"many"})
    [letter] = await letters_of(redis, keys)
    assert (letter.reason, letter.stream, letter.deliveries) == ("\\xff", "", 0)
    assert letter.fields == {b"x": b"1"}


async def test_a_replay_puts_the_entry_back_unchanged_but_marked(redis, keys, stream):
    """Its fields are appended to their stream, marked with the time, and the letter is gone."""
    [delivery] = await deliver(redis, stream)
    await make_letter(redis, keys, delivery)
    [letter] = await letters_of(redis, keys)
    [new_id] = await replay_all(redis, keys, [letter], replayed_at=REPLAYED_AT)
    [[_, rows]] = await redis.xreadgroup(GROUP, "me", {stream.key: ">"})
    assert rows == [(new_id.encode(), FIELDS | {b"replayed": REPLAYED_AT.encode()})] or rows == [
        [new_id.encode(), FIELDS | {b"replayed": REPLAYED_AT.encode()}]
    ]
    assert await letters_of(redis, keys) == []


async def test_a_letter_is_replayed_once_however_many_try(redis, keys, stream):
    """Of concurrent replays one puts it back; the others return None."""
    [delivery] = await deliver(redis, stream)
    await make_letter(redis, keys, delivery)
    [letter] = await letters_of(redis, keys)
    results = await asyncio.gather(*[replay_all(redis, keys, [letter], replayed_at=REPLAYED_AT) for _ in range(10)])
    assert len([result for [result] in results if result]) == 1
    assert await redis.xlen(stream.key) == 2


async def test_a_replay_that_fails_keeps_the_letter(redis, keys, stream):
    """If the entry cannot be put back its letter stays."""
    [delivery] = await deliver(redis, stream)
    await make_letter(redis, keys, delivery)
    await redis.delete(stream.key)
    await redis.set(stream.key, "no stream", px=60_000)
    [letter] = await letters_of(redis, keys)
    [error] = await replay_all(redis, keys, [letter], replayed_at=REPLAYED_AT)
    assert isinstance(error, RedisError)
    assert "WRONGTYPE" in str(error)
    assert await letters_of(redis, keys) == [letter]


async def test_a_replayed_entry_may_become_a_letter_again(redis, keys, stream):
    """The second letter has its own reason, and the mark of the replay."""
    [delivery] = await deliver(redis, stream)
    await make_letter(redis, keys, delivery, reason="first")
    [letter] = await letters_of(redis, keys)
    await replay_all(redis, keys, [letter], replayed_at=REPLAYED_AT)
    [again] = await deliver(redis, stream, count=0)
    await make_letter(redis, keys, again, reason="second")
    [second] = await letters_of(redis, keys)
    assert second.reason == "second"
    assert second.fields == FIELDS | {b"replayed": REPLAYED_AT.encode()}
