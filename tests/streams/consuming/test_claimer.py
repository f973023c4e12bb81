"""Claims: the entries of dead consumers, in order; never those of live ones; our own strays."""

from __future__ import annotations

import asyncio

import pytest

from router.core.keys import Keys
from router.streams.consuming.claimer import Claimer
from router.streams.consuming.groups import ensure_group
from router.streams.consuming.poison_isolation import CrashCounts
from router.streams.delivery import StreamRef
from router.tasks import end
from tests.streams.bench import GROUP
from tests.support.waiting import until

pytestmark = pytest.mark.real

#: Seconds of a heartbeat, long enough that no idle time passes a limit by itself; LONG (ms) is beyond every limit.
TTL = 60
LONG = 3_600_000


class Survivor:
    """A consumer that only beats and claims."""

    def __init__(self, redis, keys, stream, name="survivor", batch=10, ttl=TTL):
        self.redis, self.keys, self.stream, self.name = redis, keys, stream, name
        self.taken, self.held = [], set()
        self.claimer = Claimer(
            redis,
            keys,
            [stream],
            group=GROUP,
            consumer=name,
            ttl=ttl,
            batch=batch,
            held=self.held,
            take=self.take,
        )

    async def take(self, deliveries):
        self.taken += deliveries
        self.held.update((one.stream.key, one.entry_id) for one in deliveries)

    @property
    def ids(self):
        return [one.entry_id for one in self.taken]

    async def beat(self):
        for stream in self.claimer._streams:
            await self.redis.set(self.keys.heartbeat(stream.partition, GROUP, self.name), "1", px=LONG)

    async def scan(self, times=2):
        await self.beat()
        for _ in range(times):
            await self.claimer.scan(self.stream)


class Group:
    """The other consumers of the group."""

    def __init__(self, redis, keys, stream):
        self.redis, self.keys, self.stream = redis, keys, stream

    async def fill(self, count):
        ids = [(await self.redis.xadd(self.stream.key, {"n": number})).decode() for number in range(count)]
        await ensure_group(self.redis, self.stream.key, GROUP)
        return ids

    async def read(self, consumer, count=1_000, idle=LONG):
        """Read as `consumer`; the entries then count as idle for so many milliseconds."""
        rows = await self.redis.xreadgroup(GROUP, consumer, {self.stream.key: ">"}, count=count)
        ids = [entry_id for entry_id, _ in rows[0][1]] if rows else []
        if ids:
            await self.age(consumer, ids, idle)
        return [entry_id.decode() for entry_id in ids]

    async def age(self, consumer, ids, idle=LONG):
        await self.redis.xclaim(self.stream.key, GROUP, consumer, 0, ids, idle=idle, retrycount=1, justid=True)

    async def beat(self, consumer, ttl=LONG):
        await self.redis.set(self.keys.heartbeat(self.stream.partition, GROUP, consumer), "1", px=ttl)

    async def owners(self):
        rows = await self.redis.xpending_range(self.stream.key, GROUP, "-", "+", 1_000)
        return {row["message_id"].decode(): row["consumer"].decode() for row in rows}

    async def consumers(self):
        return {row["name"].decode() for row in await self.redis.xinfo_consumers(self.stream.key, GROUP)}


@pytest.fixture
def group(redis, keys, stream):
    return Group(redis, keys, stream)


@pytest.fixture
def survivor(redis, keys, stream):
    return Survivor(redis, keys, stream)


async def test_entries_of_a_dead_consumer_are_claimed_in_order(group, survivor, lines):
    """All of them come, over several batches, oldest first, marked as redelivered and with their fields."""
    ids = await group.fill(35)
    await group.read("dead")
    await survivor.scan()
    assert survivor.ids == ids
    assert all(one.is_redelivered for one in survivor.taken)
    assert [one.fields for one in survivor.taken[:2]] == [{b"n": b"0"}, {b"n": b"1"}]
    assert set((await group.owners()).values()) == {"survivor"}
    [line] = lines("claimed")
    assert (line["from_consumer"], line["entries"]) == ("dead", 35)


async def test_a_live_consumer_keeps_its_entries_however_idle_they_are(group, survivor):
    """While there is a heartbeat nothing is ever claimed."""
    ids = await group.fill(5)
    await group.beat("slow")
    await group.read("slow")
    await survivor.scan(times=4)
    assert survivor.taken == []
    assert await group.owners() == dict.fromkeys(ids, "slow")


async def test_a_consumer_without_a_heartbeat_in_one_scan_is_not_dead(group, survivor):
    """After an outage of Redis all heartbeats have expired; live consumers have one scan's time to beat again."""
    await group.fill(5)
    await group.read("alive")
    await survivor.scan(times=1)
    await group.beat("alive")
    await survivor.scan(times=1)
    await group.redis.delete(group.keys.heartbeat(0, GROUP, "alive"))
    await survivor.scan(times=1)
    assert survivor.taken == []
    await survivor.scan(times=1)
    assert len(survivor.taken) == 5


async def test_while_no_consumer_can_beat_none_is_dead(group, survivor):
    """If Redis can be read but not written all heartbeats expire, our own too: scans meanwhile prove nothing."""
    await group.fill(5)
    await group.read("alive")
    for _ in range(4):
        await survivor.claimer.scan(survivor.stream)
    await survivor.scan(times=1)
    await group.beat("alive")
    await survivor.scan(times=1)
    assert survivor.taken == []
    await group.redis.delete(group.keys.heartbeat(0, GROUP, "alive"))
    await survivor.scan(times=2)
    assert len(survivor.taken) == 5


async def test_missed_heartbeats_are_counted_anew_after_a_failed_scan(group, survivor, monkeypatch):
    """Scans before an outage do not count after it."""
    await group.fill(5)
    await group.read("alive")
    await survivor.scan(times=1)
    with monkeypatch.context() as patch:
        patch.setattr(survivor.redis, "xinfo_consumers", _refuse)
        with pytest.raises(ConnectionError):
            await survivor.scan(times=1)
    await survivor.scan(times=1)
    assert survivor.taken == []


async def _refuse(*_, **__):
    raise ConnectionError


async def test_an_entry_that_was_delivered_just_now_is_left_for_a_later_scan(group, survivor):
    """Claims carry a minimum idle time, so that one survivor does not take what another has just claimed."""
    await group.fill(2)
    await group.read("dead", count=1)
    fresh = await group.read("dead", count=1, idle=0)
    await survivor.scan()
    assert len(survivor.taken) == 1
    await group.age("dead", fresh)
    await survivor.scan(times=1)
    assert len(survivor.taken) == 2


async def test_two_survivors_racing_get_each_entry_once(group, redis, clients, redis_url, keys, stream):
    """However their claims interleave, each entry goes to one of them."""
    ids = await group.fill(200)
    for dead in ("dead-1", "dead-2"):
        await group.read(dead, count=100)
    rivals = [Survivor(clients(redis_url), keys, stream, name=name, batch=7) for name in ("one", "two")]
    await asyncio.gather(*[rival.beat() for rival in rivals])
    await asyncio.gather(*[rival.scan() for rival in rivals])
    taken = [entry_id for rival in rivals for entry_id in rival.ids]
    assert sorted(taken) == sorted(ids)


async def test_own_strays_are_claimed_and_entries_in_hand_are_not(group, survivor):
    """An entry that is pending for us but never reached us is redelivered; one that we work on is not."""
    stray, held = await group.fill(2)
    await group.read("survivor")
    survivor.held.add((group.stream.key, held))
    await survivor.scan()
    assert survivor.ids == [stray]


async def test_pending_entries_are_not_paged_through_without_strays(group, survivor, monkeypatch):
    """If as many are pending as are in hand, there is no stray: thousands that wait for an API cost nothing."""
    for entry_id in await group.fill(3):
        survivor.held.add((group.stream.key, entry_id))
    await group.read("survivor")
    with monkeypatch.context() as patch:
        patch.setattr(survivor.redis, "xpending_range", _refuse)
        await survivor.scan()
    [stray] = await group.fill(1)
    await group.read("survivor")
    await survivor.scan()
    assert survivor.ids == [stray]


async def test_own_entries_on_their_way_are_not_strays(group, survivor):
    """An entry that Redis has just delivered may still be on the wire: it is left alone for two heartbeats."""
    await group.fill(1)
    await group.read("survivor", idle=TTL * 1000)
    await survivor.scan()
    assert survivor.taken == []


async def test_a_dead_consumer_is_removed_once_it_has_no_pending_entries(group, survivor):
    """The group does not fill up with dead names, and live consumers stay."""
    await group.fill(1)
    await group.beat("alive")
    for consumer in ("dead", "alive"):
        await group.read(consumer, count=1)
    await survivor.scan()
    assert await group.consumers() == {"alive", "survivor"}


async def test_a_dead_consumer_stays_until_its_entries_are_claimed(group, survivor):
    """Removing a consumer discards its pending entries, so it is not removed while they are too fresh to claim."""
    await group.fill(1)
    fresh = await group.read("dead", idle=0)
    await survivor.scan(times=2)
    assert survivor.taken == []
    assert "dead" in await group.consumers()
    await group.age("dead", fresh)
    await survivor.scan(times=1)
    assert survivor.ids == fresh
    assert "dead" not in await group.consumers()


@pytest.mark.parametrize(
    ("is_pending", "is_beating", "is_removed"),
    [(False, False, True), (True, False, False), (False, True, False), (True, True, False)],
    ids=["idle and dead", "pending", "alive", "alive and pending"],
)
async def test_forgetting_a_consumer_never_loses_an_entry(group, keys, stream, is_pending, is_beating, is_removed):
    """Only a consumer without a heartbeat and without pending entries is removed from its group."""
    await group.fill(1)
    ids = await group.read("one")
    if not is_pending:
        await group.redis.xack(stream.key, GROUP, *ids)
    if is_beating:
        await group.beat("one")
    crashes = CrashCounts(group.redis, keys, group=GROUP, consumer="two")
    assert await crashes.forget_consumer(stream, "one") is is_removed
    assert ("one" in await group.consumers()) is not is_removed
    assert bool(await group.owners()) is is_pending


async def test_a_pending_entry_that_was_deleted_is_skipped(group, survivor):
    """The stream no longer holds it; the other entries are claimed."""
    ids = await group.fill(3)
    await group.read("dead")
    await group.redis.xdel(group.stream.key, ids[1])
    await survivor.scan()
    assert survivor.ids == [ids[0], ids[2]]


@pytest.mark.parametrize("has_stream", [True, False], ids=["no group", "no stream"])
async def test_a_group_that_does_not_exist_is_not_a_failure(group, survivor, has_stream):
    """There is nothing to claim."""
    if has_stream:
        await group.redis.xadd(group.stream.key, {"n": 1})
    await survivor.scan()
    assert survivor.taken == []


async def test_a_scan_that_fails_is_logged_and_the_next_one_tries_again(group, redis, keys, stream, lines):
    """Whatever goes wrong in one scan, also in taking the entries, the claimer goes on."""
    ids = await group.fill(1)
    await group.read("dead")
    survivor = Survivor(redis, keys, stream, ttl=0.1)
    take = survivor.take
    failures = [ConnectionError("no Redis"), ValueError("no sense")]

    async def fail(deliveries):
        if failures:
            raise failures.pop()
        await take(deliveries)

    survivor.claimer._take = fail
    await survivor.beat()
    running = asyncio.create_task(survivor.claimer.run())
    await until(lambda: survivor.ids == ids)
    await end(running)
    assert len(lines("claimer.failed")) == 2


async def test_each_stream_is_scanned_with_its_own_heartbeats(redis, lines):
    """A consumer is dead or alive in each partition by itself; one broken stream does not hide the others."""
    keys = Keys(partitions=3)
    streams = [StreamRef(number, keys.inbound(number)) for number in range(3)]
    groups = [Group(redis, keys, stream) for stream in streams]
    survivor = Survivor(redis, keys, streams[0], ttl=0.1)
    survivor.claimer._streams = streams
    await redis.set(streams[0].key, "no stream", px=LONG)
    for group in groups[1:]:
        await group.fill(1)
        await group.read("other")
    await groups[1].beat("other")
    await survivor.beat()
    running = asyncio.create_task(survivor.claimer.run())
    await until(lambda: survivor.taken)
    await end(running)
    assert [one.stream for one in survivor.taken] == [streams[2]]
    assert {line["stream"] for line in lines("claimer.failed")} == {streams[0].key}
