"""Poison isolation: an entry that crashes processes ends as a dead letter, and only that one."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from router.streams.consuming.groups import ensure_group
from router.streams.consuming.poison_isolation import (
    COUNTS_LIFE,
    LEAST_CRASHES,
    SUSPECT_AFTER,
    CrashCounts,
    PoisonIsolation,
    PriorityLock,
)
from router.streams.delivery import Delivery, Done, Limits, Poison
from router.streams.store.dead_letters import list_letters
from tests.streams.bench import GROUP, is_settled, make_consumer
from tests.streams.consumer_program import EFFECTS
from tests.support.waiting import until

pytestmark = pytest.mark.promise(4)

ENTRIES = 100
TTL = 0.6


class Group:
    """Consumers, by name, that read, claim and die."""

    def __init__(self, redis, keys, stream):
        self.redis, self.keys, self.stream = redis, keys, stream

    def crashes(self, consumer):
        return CrashCounts(self.redis, self.keys, group=GROUP, consumer=consumer)

    async def fill(self, number, consumer):
        """Add entries and read them as `consumer`."""
        ids = [(await self.redis.xadd(self.stream.key, {"n": one})).decode() for one in range(number)]
        await ensure_group(self.redis, self.stream.key, GROUP)
        await self.redis.xreadgroup(GROUP, consumer, {self.stream.key: ">"}, count=number)
        return ids

    async def take_over(self, consumer, dead, ids):
        """Claim as `consumer`; relock the deliveries by id."""
        taken = await self.crashes(consumer).take_over(self.stream, dead, 0, ids)
        return {one.entry_id: one for one in taken}

    async def known(self):
        """Return the hash of crash counts."""
        found = await self.redis.hgetall(self.keys.deaths(0, GROUP))
        return {name.decode(): value.decode() for name, value in found.items()}


@pytest.fixture
def group(redis, keys, stream):
    return Group(redis, keys, stream)


async def test_the_first_crashes_count_for_every_entry_in_flight(group):
    """Any entry of a dead consumer may have crashed it, so each counts the crash, once."""
    ids = await group.fill(3, "one")
    for crashes, (dead, heir) in enumerate([("one", "two"), ("two", "three")], start=1):
        taken = await group.take_over(heir, dead, ids)
        assert [taken[one].crashes for one in ids] == [crashes] * 3
        assert all(one.is_redelivered for one in taken.values())
    assert taken[ids[1]].fields == {b"n": b"1"}
    assert 0 < await group.redis.ttl(group.keys.deaths(0, GROUP)) <= COUNTS_LIFE


async def test_later_crashes_count_only_for_the_isolated_entry(group):
    """A suspect counts no further crash unless it was isolated at the time."""
    ids = await group.fill(3, "one")
    await group.take_over("two", "one", ids)
    taken = await group.take_over("three", "two", ids)
    await group.crashes("three").begin_isolation(taken[ids[1]])
    taken = await group.take_over("four", "three", ids)
    assert [taken[one].crashes for one in ids] == [SUSPECT_AFTER, SUSPECT_AFTER + 1, SUSPECT_AFTER]
    taken = await group.take_over("five", "four", ids)
    assert [taken[one].crashes for one in ids] == [SUSPECT_AFTER, SUSPECT_AFTER + 1, SUSPECT_AFTER]


async def test_an_isolation_that_has_ended_counts_nothing(group):
    """A crash between two attempts was caused by neither entry."""
    ids = await group.fill(2, "one")
    await group.take_over("two", "one", ids)
    taken = await group.take_over("three", "two", ids)
    await group.crashes("three").begin_isolation(taken[ids[0]])
    await group.crashes("three").end_isolation(taken[ids[0]])
    taken = await group.take_over("four", "three", ids)
    assert [taken[one].crashes for one in ids] == [SUSPECT_AFTER, SUSPECT_AFTER]


async def test_entries_that_are_handed_back_count_no_crash(group):
    """A consumer that was stopped did not crash; it is forgotten once its entries are claimed."""
    ids = await group.fill(2, "one")
    await group.crashes("one").note_leaving(group.stream)
    taken = await group.take_over("two", "one", ids)
    assert [taken[one].crashes for one in ids] == [0, 0]
    assert await group.crashes("two").forget_consumer(group.stream, "one")
    assert await group.known() == {}


async def test_a_dead_consumer_is_forgotten_with_its_notes_in_one_step(group, monkeypatch):
    """The process that forgets it may be killed next: a second step could be missing, and a note would stay."""
    ids = await group.fill(1, "one")
    await group.redis.hset(
        group.keys.deaths(0, GROUP), mapping={ids[0]: SUSPECT_AFTER, "trial:one": ids[0], "trial:me": "1-0"}
    )
    taken = await group.take_over("two", "one", ids)
    assert taken[ids[0]].crashes == SUSPECT_AFTER + 1
    await group.crashes("two").forget_consumer(group.stream, "nobody")  # the server knows the script from here on
    sent, execute = [], group.redis.execute_command

    async def record(*command, **options):
        sent.append(command[0])
        return await execute(*command, **options)

    monkeypatch.setattr(group.redis, "execute_command", record)
    assert await group.crashes("two").forget_consumer(group.stream, "one")
    monkeypatch.undo()
    assert sent == ["EVALSHA"]
    assert await group.known() == {ids[0]: str(SUSPECT_AFTER + 1), "trial:me": "1-0"}


async def test_own_strays_count_no_crash_and_keep_their_count(group):
    """Claiming one's own entry relock its crashes and adds none; its delivery count stays as well."""
    ids = await group.fill(1, "one")
    await group.take_over("two", "one", ids)
    taken = await group.take_over("two", "two", ids)
    assert taken[ids[0]].crashes == 1
    [row] = await group.redis.xpending_range(group.stream.key, GROUP, "-", "+", 10)
    assert row["times_delivered"] == 1


async def test_of_two_survivors_one_counts_the_crash(group):
    """The claim and the count are one step: the second gets nothing and counts nothing."""
    ids = await group.fill(1, "one")
    await group.redis.xclaim(group.stream.key, GROUP, "one", 0, ids, idle=3_600_000, justid=True)
    taken = [await group.crashes(heir).take_over(group.stream, "one", 30_000, ids) for heir in ("two", "three")]
    assert [len(one) for one in taken] == [1, 0]
    assert await group.known() == {ids[0]: "1"}


class Isolation:
    """A PoisonIsolation whose attempts note which entries are at work and wait until the test releases them."""

    def __init__(self, crashes, stream, limit=LEAST_CRASHES):
        self.stream, self.at_work, self.began = stream, [], []
        self.gates = {}
        self.isolation = PoisonIsolation(
            crashes, limit=limit, attempt=self.attempt, paused=lambda _: contextlib.nullcontext()
        )

    async def attempt(self, delivery):
        self.at_work.append(delivery.entry_id)
        self.began.append(delivery.entry_id)
        await self.gates.setdefault(delivery.entry_id, asyncio.Event()).wait()
        self.at_work.remove(delivery.entry_id)
        return Done()

    def begin(self, entry_id, crashes):
        return asyncio.create_task(self.isolation.attempt(Delivery(self.stream, entry_id, {}, crashes=crashes)))

    async def release(self, entry_id, task):
        self.gates.setdefault(entry_id, asyncio.Event()).set()
        return await task


@pytest.fixture
def isolation(group, stream):
    return Isolation(group.crashes("me"), stream)


async def test_suspects_are_attempted_one_at_a_time_and_others_beside_them(isolation, group):
    """The isolated entry is named in Redis while its attempt runs; suspects with fewer crashes go first."""
    tasks = {"1-0": isolation.begin("1-0", SUSPECT_AFTER)}
    await until(lambda: isolation.at_work == ["1-0"])
    for name, crashes in (("2-0", SUSPECT_AFTER + 1), ("3-0", SUSPECT_AFTER), ("4-0", SUSPECT_AFTER - 1), ("5-0", 0)):
        tasks[name] = isolation.begin(name, crashes)
    await until(lambda: len(isolation.at_work) == 3)
    assert isolation.at_work == ["1-0", "4-0", "5-0"]
    assert await group.known() == {"trial:me": "1-0"}
    for name, following in (("1-0", "3-0"), ("3-0", "2-0")):
        assert await isolation.release(name, tasks[name]) == Done()
        await until(lambda following=following: following in isolation.at_work)
        assert await group.known() == {"trial:me": following}
    for name in ("2-0", "4-0", "5-0"):
        await isolation.release(name, tasks[name])
    assert await group.known() == {}


async def test_a_suspect_that_is_canceled_while_it_waits_does_not_block_the_next(isolation):
    """The lock goes to the next one, even if the canceled one had just been given it."""
    first, second, third = (isolation.begin(f"{number}-0", SUSPECT_AFTER) for number in (1, 2, 3))
    await until(lambda: isolation.at_work == ["1-0"])
    second.cancel()
    await isolation.release("1-0", first)
    await until(lambda: isolation.at_work == ["3-0"])
    await isolation.release("3-0", third)
    assert isolation.began == ["1-0", "3-0"]


async def test_a_lock_that_arrives_with_a_cancellation_is_passed_on():
    """Neither order of the two may lose the lock."""
    lock = PriorityLock()
    assert lock.try_acquire()
    waiting = asyncio.create_task(lock.acquire(0))
    await asyncio.sleep(0)
    lock.release()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert lock.try_acquire()


@pytest.mark.parametrize(("limit", "crashes"), [(1, LEAST_CRASHES), (LEAST_CRASHES, LEAST_CRASHES), (9, 9)])
async def test_at_the_limit_an_entry_is_given_up_unattempted(group, stream, limit, crashes):
    """A low limit does not give up an entry that was merely in flight at other crashes."""
    isolation = Isolation(group.crashes("me"), stream, limit=limit)
    verdict = await isolation.isolation.attempt(Delivery(stream, "1-0", {}, crashes=crashes))
    assert verdict == Poison(f"it was being worked on when {crashes} processes died")
    task = isolation.begin("1-0", crashes - 1)
    await until(lambda: isolation.at_work)
    assert await isolation.release("1-0", task) == Done()


async def test_a_consumer_attempts_suspects_outside_of_the_batch_and_drops_their_counts(group, redis_url):
    """A claimed suspect bypasses the intake; after success nothing of it remains."""
    ids = await group.fill(2, "one")
    await group.redis.xclaim(group.stream.key, GROUP, "one", 0, ids, idle=3_600_000, justid=True)
    await group.redis.hset(group.keys.deaths(0, GROUP), mapping=dict.fromkeys(ids, SUSPECT_AFTER))
    attempted, batches = [], []

    async def attempt(delivery):
        attempted.append((delivery.entry_id, await group.known()))
        return Done()

    async def intake(deliveries):
        batches.append([one.entry_id for one in deliveries])
        return deliveries

    limits = Limits(heartbeat_ttl=TTL)
    consumer = make_consumer(
        group.redis, redis_url, group.keys, [group.stream], attempt=attempt, limits=limits, intake=intake
    )
    async with consumer.running():
        await until(lambda: is_settled(group.redis, group.stream))
        await until(lambda: _knows_nothing(group))
    assert [entry_id for entry_id, _ in attempted] == ids
    assert [known[f"trial:{consumer.name}"] for _, known in attempted] == ids
    assert batches == []


async def _knows_nothing(group):
    return not await group.known()


@pytest.mark.processes
async def test_an_entry_that_crashes_its_process_is_given_up_and_its_neighbors_pass(
    start_consumer, group, redis, keys, stream
):
    """Among a hundred good entries one crashes every process that attempts it: it is given up, the rest is done."""
    for number in range(ENTRIES):
        if number == ENTRIES // 4:
            await redis.xadd(stream.key, {"n": 0, "kills": "yes"})
        await redis.xadd(stream.key, {"n": number})
    crashes = 0
    running = [await start_consumer(delay=0.001, ttl=TTL) for _ in range(2)]

    async def replace_crashed_processes():
        nonlocal crashes
        for position, one in enumerate(running):
            if one.returncode is not None:
                crashes += 1
                running[position] = await start_consumer(delay=0.001, ttl=TTL)
        return [one async for one in list_letters(redis, keys)]

    [letter] = await until(replace_crashed_processes, 60)
    await until(lambda: is_settled(redis, stream))
    await until(lambda: _knows_nothing(group))  # the last dead consumer is forgotten after its entries
    assert await redis.scard(EFFECTS) == ENTRIES
    assert crashes == LEAST_CRASHES
    assert letter.fields == {b"n": b"0", b"kills": b"yes"}
    assert letter.reason == f"it was being worked on when {LEAST_CRASHES} processes died"
    assert letter.deliveries == LEAST_CRASHES
    assert [one.returncode for one in running] == [None, None]
