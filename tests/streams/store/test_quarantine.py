"""The quarantine in Redis: bounded for each reason by number, bytes and age; a repeat is counted, not kept again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from router.core.refused import REASONS, Bounds
from router.streams.client.connection import RedisError
from router.streams.store import quarantine
from router.streams.store.quarantine import Kept, count, find, keep, list_kept, remove
from tests.core.test_refused import REFUSED

pytestmark = pytest.mark.real

BOUNDS = Bounds(entries=3, size=10_000, ttl=3600)


def refused(number=1, reason="signature", *, size=10, seconds=0, **changes):
    """A refused webhook of its own, received so many seconds from now."""
    body = b"%d " % number + b"x" * size
    received_at = 1_767_787_200_000_000 + seconds * 1_000_000
    return replace(REFUSED, reason=reason, body=body, received_at=received_at, **changes)


async def now(redis):
    seconds, _ = await redis.time()
    return seconds - 1_767_787_200


async def kept_in(redis, keys):
    return [kept async for kept in list_kept(redis, keys)]


async def bodies(redis, keys, reason=None):
    kept = [one.refused for one in await kept_in(redis, keys)]
    return [int(one.body.split()[0]) for one in kept if reason in {None, one.reason}]


async def test_what_is_kept_is_found_as_it_was(redis, keys):
    """Every byte of it, under the id that was told."""
    entry_id = await keep(redis, keys, refused(), BOUNDS)
    assert await kept_in(redis, keys) == [Kept(entry_id, refused())]
    assert await find(redis, keys, entry_id) == Kept(entry_id, refused())


@pytest.mark.parametrize("entry_id", ["1-1", "", "x", "-", "+", "1", "0-0 ", "\u0661-\u0661", "9" * 30 + "-1"])
async def test_an_id_that_is_none_finds_nothing(redis, keys, entry_id):
    """Whatever a person types."""
    await keep(redis, keys, refused(), BOUNDS)
    assert await find(redis, keys, entry_id) is None


async def test_a_repeat_is_counted_and_not_kept_again(redis, keys):
    """The same webhook ten times is one entry that says so; another one is another."""
    ids = [await keep(redis, keys, refused(seconds=number), BOUNDS) for number in range(10)]
    assert [bool(entry_id) for entry_id in ids] == [True] + [False] * 9
    await keep(redis, keys, refused(2), BOUNDS)
    assert [kept.repeats for kept in await kept_in(redis, keys)] == [9, 0]


async def test_each_reason_has_a_number_of_its_own(redis, keys):
    """A flood of one reason pushes out its own oldest, and nothing of another."""
    for reason in REASONS:
        await keep(redis, keys, refused(0, reason, raw_path=reason.encode()), BOUNDS)
    for number in range(1, 20):
        await keep(redis, keys, refused(number), BOUNDS)
    assert await bodies(redis, keys, "signature") == [17, 18, 19]
    assert await count(redis, keys) == {**dict.fromkeys(REASONS, 1), "signature": 3}
    assert len(await kept_in(redis, keys)) == 3 + len(REASONS) - 1


async def test_each_reason_has_bytes_of_its_own(redis, keys):
    """Large ones push out as many of the oldest as they need room for."""
    for number in range(3):
        await keep(redis, keys, refused(number, size=3000), BOUNDS)
    assert await bodies(redis, keys) == [0, 1, 2]
    await keep(redis, keys, refused(3, size=6000), BOUNDS)
    assert await bodies(redis, keys) == [2, 3]
    await keep(redis, keys, refused(4, "account", size=9000), BOUNDS)
    assert await bodies(redis, keys) == [2, 3, 4]


async def test_what_is_too_large_alone_is_kept_without_its_body(redis, keys):
    """It pushes out nothing, and its head is there to be explained."""
    await keep(redis, keys, refused(1), BOUNDS)
    await keep(redis, keys, refused(2, size=20_000), BOUNDS)
    first, second = await kept_in(redis, keys)
    assert (first.refused.is_whole, second.refused.is_whole, second.refused.body) == (True, False, b"")


async def test_what_is_old_goes_whichever_reason_comes_next(redis, keys):
    """Age ends an entry of every reason as soon as anything is refused."""
    today = await now(redis)
    for number, reason in enumerate(REASONS):
        await keep(redis, keys, refused(number, reason, seconds=today), BOUNDS)
    await keep(redis, keys, refused(7, "account", seconds=today + 3500), BOUNDS)
    assert len(await kept_in(redis, keys)) == len(REASONS) + 1
    await keep(redis, keys, refused(8, "account", seconds=today + 3700), BOUNDS)
    assert await bodies(redis, keys) == [8]
    assert (await count(redis, keys))["signature"] == 0


async def test_nothing_outlives_the_last_one_by_more_than_the_ttl(redis, keys):
    """Every key expires together with the others."""
    await keep(redis, keys, refused(), BOUNDS)
    await keep(redis, keys, refused(), BOUNDS)
    await keep(redis, keys, refused(2, "account"), BOUNDS)
    names = await redis.keys()
    assert len(names) == 6
    assert {await redis.ttl(name) // 100 for name in names} <= {35, 36}


async def test_what_was_dropped_leaves_nothing_behind(redis, keys):
    """Digest, count and bytes of an entry go with it: it can be kept again, and the room is free again."""
    for number in (1, 1, 2, 3, 4):
        await keep(redis, keys, refused(number), BOUNDS)
    assert await redis.hlen(keys.quarantine_known()) == 3
    assert await redis.hlen(keys.quarantine_repeats()) == 0
    assert await keep(redis, keys, refused(1), BOUNDS)
    sizes = sum(kept.refused.size for kept in await kept_in(redis, keys))
    assert int(await redis.hget(keys.quarantine_bytes(), keys.quarantine_order("signature"))) == sizes


async def test_what_is_removed_leaves_nothing_behind(redis, keys):
    """An entry is removed once, with all that was noted of it; the others stay."""
    for number in (1, 1, 2):
        await keep(redis, keys, refused(number), BOUNDS)
    first, second = await kept_in(redis, keys)
    assert [await remove(redis, keys, first) for _ in range(2)] == [True, False]
    assert await kept_in(redis, keys) == [second]
    assert int(await redis.hget(keys.quarantine_bytes(), keys.quarantine_order("signature"))) == second.refused.size
    assert await keep(redis, keys, refused(1), BOUNDS)
    assert [kept.repeats for kept in await kept_in(redis, keys)] == [0, 0]


async def test_what_was_deleted_by_hand_is_kept_when_it_comes_again(redis, keys):
    """The notes of an entry that is gone do not hide its repeat."""
    entry_id = await keep(redis, keys, refused(), BOUNDS)
    await redis.xdel(keys.quarantine(), entry_id)
    again = await keep(redis, keys, refused(), BOUNDS)
    assert again
    assert [kept.entry_id for kept in await kept_in(redis, keys)] == [again]
    await redis.delete(keys.quarantine())
    assert await keep(redis, keys, refused(), BOUNDS)


async def test_all_are_listed_over_pages(redis, keys, monkeypatch):
    """However many there are, each is listed once, in order."""
    monkeypatch.setattr(quarantine, "_PAGE", 3)
    for number in range(7):
        await keep(redis, keys, refused(number), Bounds(entries=100, size=10_000, ttl=60))
    assert await bodies(redis, keys) == list(range(7))


async def test_an_empty_quarantine(redis, keys):
    """Nothing to list, nothing to find, nothing to count."""
    assert await kept_in(redis, keys) == []
    assert await find(redis, keys, "1-1") is None
    assert set((await count(redis, keys)).values()) == {0}


async def test_a_key_of_another_type_is_an_error(redis, keys):
    """Where the stream cannot be written nothing is noted either."""
    await redis.set(keys.quarantine(), "no stream", px=60_000)
    with pytest.raises(RedisError, match="WRONGTYPE"):
        await keep(redis, keys, refused(), BOUNDS)
    assert await redis.keys() == [keys.quarantine().encode()]
