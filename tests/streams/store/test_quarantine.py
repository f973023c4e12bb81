"""The quarantine: bounded for each reason by number, bytes and age; a repeat is counted, not kept again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from router.core.refused import REASONS, Bounds
from router.streams.client.connection import RedisError
from router.streams.store import quarantine
from router.streams.store.quarantine import Kept, count, count_lately, find, keep, list_kept, remove
from tests.core.test_refused import REFUSED

pytestmark = pytest.mark.real

BOUNDS = Bounds(entries=3, size=10_000, ttl=3600)


def refused(number=1, reason="signature", *, size=10, seconds=0, **changes):
    """Return a refused webhook with a body of its own, received `seconds` after a fixed time."""
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


async def test_a_kept_webhook_is_found_unchanged(redis, keys):
    """Every byte of it, under the id that was returned."""
    entry_id = await keep(redis, keys, refused(), BOUNDS)
    assert await kept_in(redis, keys) == [Kept(entry_id, refused())]
    assert await find(redis, keys, entry_id) == Kept(entry_id, refused())


@pytest.mark.parametrize("entry_id", ["1-1", "", "x", "-", "+", "1", "0-0 ", "\u0661-\u0661", "9" * 30 + "-1"])
async def test_an_invalid_or_unknown_id_finds_nothing(redis, keys, entry_id):
    """Whatever a person types."""
    await keep(redis, keys, refused(), BOUNDS)
    assert await find(redis, keys, entry_id) is None


async def test_a_repeat_is_counted_and_not_kept_again(redis, keys):
    """The same webhook ten times is one entry with nine repeats; another webhook is another entry."""
    ids = [await keep(redis, keys, refused(seconds=number), BOUNDS) for number in range(10)]
    assert [bool(entry_id) for entry_id in ids] == [True] + [False] * 9
    await keep(redis, keys, refused(2), BOUNDS)
    assert [kept.repeats for kept in await kept_in(redis, keys)] == [9, 0]


async def test_each_reason_has_its_own_bound_in_number(redis, keys):
    """A flood of one reason drops its own oldest entries, and none of another reason."""
    for reason in REASONS:
        await keep(redis, keys, refused(0, reason, raw_path=reason.encode()), BOUNDS)
    for number in range(1, 20):
        await keep(redis, keys, refused(number), BOUNDS)
    assert await bodies(redis, keys, "signature") == [17, 18, 19]
    assert await count(redis, keys) == {**dict.fromkeys(REASONS, 1), "signature": 3}
    assert len(await kept_in(redis, keys)) == 3 + len(REASONS) - 1


async def test_each_reason_has_its_own_bound_in_bytes(redis, keys):
    """A large entry drops as many of the oldest as it needs room for."""
    for number in range(3):
        await keep(redis, keys, refused(number, size=3000), BOUNDS)
    assert await bodies(redis, keys) == [0, 1, 2]
    await keep(redis, keys, refused(3, size=6000), BOUNDS)
    assert await bodies(redis, keys) == [2, 3]
    await keep(redis, keys, refused(4, "account", size=9000), BOUNDS)
    assert await bodies(redis, keys) == [2, 3, 4]


async def test_large_ones_displace_no_others(redis, keys):
    """Forged megabytes displace each other, and no small webhook of their reason; all are listed and removed alike."""
    bounds = Bounds(entries=3, size=80_000, ttl=3600)
    for number in range(3):
        await keep(redis, keys, refused(number), bounds)
    for number in range(3, 9):
        await keep(redis, keys, refused(number, size=19_000), bounds)
    assert await bodies(redis, keys) == [0, 1, 2, 7, 8]
    await keep(redis, keys, refused(9), bounds)
    assert await bodies(redis, keys) == [1, 2, 7, 8, 9]
    assert (await count(redis, keys))["signature"] == 5
    for kept in await kept_in(redis, keys):
        assert await remove(redis, keys, kept)
    assert await count(redis, keys) == dict.fromkeys(REASONS, 0)
    assert {int(size) for size in await redis.hvals(keys.quarantine_bytes())} == {0}


async def test_a_webhook_beyond_the_bound_is_kept_without_its_body(redis, keys):
    """It drops no other entry, and its headers are there to be explained."""
    await keep(redis, keys, refused(1), BOUNDS)
    await keep(redis, keys, refused(2, size=20_000), BOUNDS)
    first, second = await kept_in(redis, keys)
    assert (first.refused.is_whole, second.refused.is_whole, second.refused.body) == (True, False, b"")


async def test_old_entries_of_every_reason_are_dropped_at_the_next_refusal(redis, keys):
    """Whatever the reason of the new one."""
    today = await now(redis)
    for number, reason in enumerate(REASONS):
        await keep(redis, keys, refused(number, reason, seconds=today), BOUNDS)
    await keep(redis, keys, refused(7, "account", seconds=today + 3500), BOUNDS)
    assert len(await kept_in(redis, keys)) == len(REASONS) + 1
    await keep(redis, keys, refused(8, "account", seconds=today + 3700), BOUNDS)
    assert await bodies(redis, keys) == [8]
    assert (await count(redis, keys))["signature"] == 0


async def test_all_keys_expire_a_ttl_after_the_last_webhook(redis, keys):
    """They expire together."""
    await keep(redis, keys, refused(), BOUNDS)
    await keep(redis, keys, refused(), BOUNDS)
    await keep(redis, keys, refused(2, "account"), BOUNDS)
    names = await redis.keys()
    assert len(names) == 6
    assert {await redis.ttl(name) // 100 for name in names} <= {35, 36}


async def test_entries_of_our_accounts_are_counted_for_an_hour_up_to_a_bound(redis, keys, monkeypatch):
    """Anybody may name our accounts: the notes take bounded room."""
    monkeypatch.setattr(quarantine, "MOST_LATELY", 3)
    for number in range(5):
        await keep(redis, keys, refused(number, seconds=number), BOUNDS, ours={REFUSED.account_id})
    assert await redis.zcard(keys.quarantine_ours()) == 3
    since = refused().received_at // 1000
    assert await count_lately(redis, keys, since) == 3
    assert await count_lately(redis, keys, since + 3001) == 1
    assert await redis.ttl(keys.quarantine_ours()) > 0
    await keep(redis, keys, refused(9, seconds=3602), BOUNDS, ours={"AC9"})
    assert await redis.zcard(keys.quarantine_ours()) == 2


async def test_a_dropped_entry_leaves_nothing_behind(redis, keys):
    """Its digest, repeats and size are removed too: the webhook can be kept again, and its room is free."""
    for number in (1, 1, 2, 3, 4):
        await keep(redis, keys, refused(number), BOUNDS)
    assert await redis.hlen(keys.quarantine_known()) == 3
    assert await redis.hlen(keys.quarantine_repeats()) == 0
    assert await keep(redis, keys, refused(1), BOUNDS)
    sizes = sum(kept.refused.size for kept in await kept_in(redis, keys))
    assert int(await redis.hget(keys.quarantine_bytes(), keys.quarantine_order("signature"))) == sizes


async def test_a_removed_entry_leaves_nothing_behind(redis, keys):
    """It is removed once, with its digest, repeats and size; the others stay."""
    for number in (1, 1, 2):
        await keep(redis, keys, refused(number), BOUNDS)
    first, second = await kept_in(redis, keys)
    assert [await remove(redis, keys, first) for _ in range(2)] == [True, False]
    assert await kept_in(redis, keys) == [second]
    assert int(await redis.hget(keys.quarantine_bytes(), keys.quarantine_order("signature"))) == second.refused.size
    assert await keep(redis, keys, refused(1), BOUNDS)
    assert [kept.repeats for kept in await kept_in(redis, keys)] == [0, 0]


async def test_a_webhook_whose_entry_was_deleted_by_hand_is_kept_again(redis, keys):
    """The digest of an entry that is gone does not hide a repeat."""
    entry_id = await keep(redis, keys, refused(), BOUNDS)
    await redis.xdel(keys.quarantine(), entry_id)
    again = await keep(redis, keys, refused(), BOUNDS)
    assert again
    assert [kept.entry_id for kept in await kept_in(redis, keys)] == [again]
    await redis.delete(keys.quarantine())
    assert await keep(redis, keys, refused(), BOUNDS)


async def test_all_entries_are_listed_over_pages(redis, keys, monkeypatch):
    """Each is listed once, in order."""
    monkeypatch.setattr(quarantine, "_PAGE", 3)
    for number in range(7):
        await keep(redis, keys, refused(number), Bounds(entries=100, size=10_000, ttl=60))
    assert await bodies(redis, keys) == list(range(7))


@pytest.mark.parametrize("until", [None, 1 << 50])
async def test_webhooks_that_are_refused_while_it_is_listed_are_left_out(redis, keys, monkeypatch, until):
    """A drop of everything takes what was there when it began, and none that nobody has looked at."""
    monkeypatch.setattr(quarantine, "_PAGE", 2)
    bounds = Bounds(entries=100, size=10_000, ttl=60)
    for number in range(5):
        await keep(redis, keys, refused(number), bounds)
    seen = []
    async for kept in list_kept(redis, keys, until=until):
        seen.append(int(kept.refused.body.split()[0]))
        await keep(redis, keys, refused(5 + seen[-1]), bounds)
    assert seen == list(range(5))


async def test_an_empty_quarantine_has_no_entries_and_counts_of_zero(redis, keys):
    """Listing, finding and counting work without any key."""
    assert await kept_in(redis, keys) == []
    assert await find(redis, keys, "1-1") is None
    assert set((await count(redis, keys)).values()) == {0}


async def test_a_key_of_another_type_is_an_error(redis, keys):
    """If the stream cannot be written, nothing else is either."""
    await redis.set(keys.quarantine(), "no stream", px=60_000)
    with pytest.raises(RedisError, match="WRONGTYPE"):
        await keep(redis, keys, refused(), BOUNDS)
    assert await redis.keys() == [keys.quarantine().encode()]
