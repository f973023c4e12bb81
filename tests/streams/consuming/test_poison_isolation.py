"""Trials: an entry that kills processes ends as a dead letter, and nobody else has to pay for it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from router.streams.consuming.consumer import Limits, StreamConsumer
from router.streams.consuming.groups import ensure_group
from router.streams.consuming.poison_isolation import (
    COUNTS_LIFE,
    LEAST_CRASHES,
    SUSPECT_AFTER,
    CrashCounts,
    PoisonIsolation,
    PriorityLock,
)
from router.streams.delivery import Delivery, Done, Poison
from router.streams.store.dead_letters import list_letters
from tests.harness.processes import start_process
from tests.streams.consumer_program import EFFECTS, GROUP
from tests.support.waiting import until

pytestmark = pytest.mark.promise(4)

ENTRIES = 100
TTL = 0.6


class Group:
    """Consumers that read, take over and die by name."""

    def __init__(self, redis, keys, stream):
        self.redis, self.keys, self.stream = redis, keys, stream

    def deaths(self, consumer):
        return CrashCounts(self.redis, self.keys, group=GROUP, consumer=consumer)

    async def fill(self, number, consumer):
        """Add entries and read them as `consumer`."""
        ids = [(await self.redis.xadd(self.stream.key, {"n": one})).decode() for one in range(number)]
        await ensure_group(self.redis, self.stream.key, GROUP)
        await self.redis.xreadgroup(GROUP, consumer, {self.stream.key: ">"}, count=number)
        return ids

    async def take_over(self, consumer, dead, ids):
        """Take over as `consumer`; returns the deliveries by id."""
        taken = await self.deaths(consumer).take_over(self.stream, dead, 0, ids)
        return {one.entry_id: one for one in taken}

    async def known(self):
        found = await self.redis.hgetall(self.keys.deaths(0, GROUP))
        return {name.decode(): value.decode() for name, value in found.items()}


@pytest.fixture
def group(redis, keys, stream):
    return Group(redis, keys, stream)


async def test_the_first_deaths_count_for_all_that_was_in_flight(group):
    """Whatever a dead consumer had may have killed it, so that each of its entries counts the death, once."""
    ids = await group.fill(3, "one")
    for deaths, (dead, heir) in enumerate([("one", "two"), ("two", "three")], start=1):
        taken = await group.take_over(heir, dead, ids)
        assert [taken[one].crashes for one in ids] == [deaths] * 3
        assert all(one.is_redelivered for one in taken.values())
    assert taken[ids[1]].fields == {b"n": b"1"}
    assert 0 < await group.redis.ttl(group.keys.deaths(0, GROUP)) <= COUNTS_LIFE


async def test_then_a_death_counts_only_for_the_entry_that_was_on_trial(group):
    """Who has been free at two deaths counts no more of them except by name."""
    ids = await group.fill(3, "one")
    await group.take_over("two", "one", ids)
    taken = await group.take_over("three", "two", ids)
    await group.deaths("three").begin_isolation(taken[ids[1]])
    taken = await group.take_over("four", "three", ids)
    assert [taken[one].crashes for one in ids] == [SUSPECT_AFTER, SUSPECT_AFTER + 1, SUSPECT_AFTER]
    taken = await group.take_over("five", "four", ids)
    assert [taken[one].crashes for one in ids] == [SUSPECT_AFTER, SUSPECT_AFTER + 1, SUSPECT_AFTER]


async def test_a_trial_that_is_over_counts_for_nobody(group):
    """A process that dies between two attempts died of none of them."""
    ids = await group.fill(2, "one")
    await group.take_over("two", "one", ids)
    taken = await group.take_over("three", "two", ids)
    await group.deaths("three").begin_isolation(taken[ids[0]])
    await group.deaths("three").end_isolation(taken[ids[0]])
    taken = await group.take_over("four", "three", ids)
    assert [taken[one].crashes for one in ids] == [SUSPECT_AFTER, SUSPECT_AFTER]


async def test_what_was_handed_back_counts_no_death(group):
    """A consumer that was told to stop did not die of what it left behind, and it is forgotten with its entries."""
    ids = await group.fill(2, "one")
    await group.deaths("one").note_leaving(group.stream)
    taken = await group.take_over("two", "one", ids)
    assert [taken[one].crashes for one in ids] == [0, 0]
    assert await group.deaths("two").forget_consumer(group.stream, "one")
    assert await group.known() == {}


async def test_a_dead_consumer_is_forgotten_in_one_step_with_what_it_died_of(group, monkeypatch):
    """Who forgets it may be killed next: a second step could be missing, and the name of a trial would stay."""
    ids = await group.fill(1, "one")
    await group.redis.hset(
        group.keys.deaths(0, GROUP), mapping={ids[0]: SUSPECT_AFTER, "trial:one": ids[0], "trial:me": "1-0"}
    )
    taken = await group.take_over("two", "one", ids)
    assert taken[ids[0]].crashes == SUSPECT_AFTER + 1
    await group.deaths("two").forget_consumer(group.stream, "nobody")  # the server knows the script from here on
    sent, execute = [], group.redis.execute_command

    async def record(*command, **options):
        sent.append(command[0])
        return await execute(*command, **options)

    monkeypatch.setattr(group.redis, "execute_command", record)
    assert await group.deaths("two").forget_consumer(group.stream, "one")
    monkeypatch.undo()
    assert sent == ["EVALSHA"]
    assert await group.known() == {ids[0]: str(SUSPECT_AFTER + 1), "trial:me": "1-0"}


async def test_own_strays_count_no_death_and_keep_what_they_have(group):
    """Taking up what is ours already tells how many deaths it has seen and adds none; failures stay as they were."""
    ids = await group.fill(1, "one")
    await group.take_over("two", "one", ids)
    taken = await group.take_over("two", "two", ids)
    assert taken[ids[0]].crashes == 1
    [row] = await group.redis.xpending_range(group.stream.key, GROUP, "-", "+", 10)
    assert row["times_delivered"] == 1


async def test_of_two_heirs_one_counts_the_death(group):
    """The claim and the count are one step: who comes too late gets nothing and counts nothing."""
    ids = await group.fill(1, "one")
    await group.redis.xclaim(group.stream.key, GROUP, "one", 0, ids, idle=60_000, justid=True)
    taken = [await group.deaths(heir).take_over(group.stream, "one", 30_000, ids) for heir in ("two", "three")]
    assert [len(one) for one in taken] == [1, 0]
    assert await group.known() == {ids[0]: "1"}


class Court:
    """Trials with attempts that note who is at work and wait until they are let go."""

    def __init__(self, deaths, stream, limit=LEAST_CRASHES):
        self.stream, self.at_work, self.began = stream, [], []
        self.gates = {}
        self.trials = PoisonIsolation(
            deaths, limit=limit, attempt=self.attempt, parked=lambda _: contextlib.nullcontext()
        )

    async def attempt(self, delivery):
        self.at_work.append(delivery.entry_id)
        self.began.append(delivery.entry_id)
        await self.gates.setdefault(delivery.entry_id, asyncio.Event()).wait()
        self.at_work.remove(delivery.entry_id)
        return Done()

    def begin(self, entry_id, deaths):
        return asyncio.create_task(self.trials.attempt(Delivery(self.stream, entry_id, {}, crashes=deaths)))

    async def release(self, entry_id, task):
        self.gates.setdefault(entry_id, asyncio.Event()).set()
        return await task


@pytest.fixture
def court(group, stream):
    return Court(group.deaths("me"), stream)


async def test_suspects_are_attempted_one_at_a_time_and_others_beside_them(court, group):
    """The one on trial is named in Redis while its attempt runs; those with fewer deaths go first."""
    tasks = {"1-0": court.begin("1-0", SUSPECT_AFTER)}
    await until(lambda: court.at_work == ["1-0"])
    for name, deaths in (("2-0", SUSPECT_AFTER + 1), ("3-0", SUSPECT_AFTER), ("4-0", SUSPECT_AFTER - 1), ("5-0", 0)):
        tasks[name] = court.begin(name, deaths)
    await until(lambda: len(court.at_work) == 3)
    assert court.at_work == ["1-0", "4-0", "5-0"]
    assert await group.known() == {"trial:me": "1-0"}
    for name, following in (("1-0", "3-0"), ("3-0", "2-0")):
        assert await court.release(name, tasks[name]) == Done()
        await until(lambda following=following: following in court.at_work)
        assert await group.known() == {"trial:me": following}
    for name in ("2-0", "4-0", "5-0"):
        await court.release(name, tasks[name])
    assert await group.known() == {}


async def test_a_suspect_that_is_canceled_while_it_waits_keeps_nobody_from_its_turn(court):
    """The turn goes to the next, also where the canceled one had just been given it."""
    first, second, third = (court.begin(f"{number}-0", SUSPECT_AFTER) for number in (1, 2, 3))
    await until(lambda: court.at_work == ["1-0"])
    second.cancel()
    await court.release("1-0", first)
    await until(lambda: court.at_work == ["3-0"])
    await court.release("3-0", third)
    assert court.began == ["1-0", "3-0"]


async def test_a_turn_that_comes_with_the_cancellation_is_passed_on():
    """Neither order of the two may lose the turn."""
    turns = PriorityLock()
    assert turns.try_acquire()
    waiting = asyncio.create_task(turns.acquire(0))
    await asyncio.sleep(0)
    turns.release()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert turns.try_acquire()


@pytest.mark.parametrize(("limit", "deaths"), [(1, LEAST_CRASHES), (LEAST_CRASHES, LEAST_CRASHES), (9, 9)])
async def test_at_the_limit_it_is_given_up_unattempted(group, stream, limit, deaths):
    """A low limit of failures gives nothing up that was only near others' deaths."""
    court = Court(group.deaths("me"), stream, limit=limit)
    verdict = await court.trials.attempt(Delivery(stream, "1-0", {}, crashes=deaths))
    assert verdict == Poison(f"it was being worked on when {deaths} processes died")
    task = court.begin("1-0", deaths - 1)
    await until(lambda: court.at_work)
    assert await court.release("1-0", task) == Done()


async def test_a_consumer_attempts_suspects_outside_of_the_batch_and_forgets_them_when_done(group, redis_url):
    """What is taken over with too many deaths goes past the intake; after success nothing of it remains."""
    ids = await group.fill(2, "one")
    await group.redis.xclaim(group.stream.key, GROUP, "one", 0, ids, idle=60_000, justid=True)
    await group.redis.hset(group.keys.deaths(0, GROUP), mapping=dict.fromkeys(ids, SUSPECT_AFTER))
    attempted, batches = [], []

    async def attempt(delivery):
        attempted.append((delivery.entry_id, await group.known()))
        return Done()

    async def intake(deliveries):
        batches.append([one.entry_id for one in deliveries])
        return deliveries

    consumer = StreamConsumer(
        redis=group.redis,
        url=redis_url,
        keys=group.keys,
        streams=[group.stream],
        group=GROUP,
        limits=Limits(heartbeat_ttl=TTL),
        attempt=attempt,
        subject=lambda delivery: delivery.entry_id,
        intake=intake,
    )
    async with consumer.running():
        await until(lambda: _is_settled(group.redis, group.stream))
        await until(lambda: _knows_nothing(group))
    assert [entry_id for entry_id, _ in attempted] == ids
    assert [known[f"trial:{consumer.name}"] for _, known in attempted] == ids
    assert batches == []


async def _knows_nothing(group):
    return not await group.known()


@pytest.mark.processes
async def test_an_entry_that_kills_its_process_is_given_up_and_its_neighbors_pass(
    tmp_path, redis, redis_url, keys, stream
):
    """Among a hundred good entries one kills whoever attempts it: all good ones are done, and the processes live on."""
    for number in range(ENTRIES):
        if number == ENTRIES // 4:
            await redis.xadd(stream.key, {"n": 0, "kills": "yes"})
        await redis.xadd(stream.key, {"n": number})
    processes, deaths = [], 0

    async def start():
        arguments = [str(one) for one in (ENTRIES, 0.001, 5, TTL)]
        process = await start_process(tmp_path, "tests.streams.consumer_program", redis_url, *arguments)
        processes.append(process)
        return process

    try:
        running = [await start(), await start()]

        async def replace_the_dead():
            nonlocal deaths
            for position, one in enumerate(running):
                if one.returncode is not None:
                    deaths += 1
                    running[position] = await start()
            return [one async for one in list_letters(redis, keys)]

        [letter] = await until(replace_the_dead, 60)
        await until(lambda: _is_settled(redis, stream), 20)
        await until(lambda: _knows_nothing(Group(redis, keys, stream)))  # the last death is, after its entries
        assert await redis.scard(EFFECTS) == ENTRIES
        assert deaths == LEAST_CRASHES
        assert letter.fields == {b"n": b"0", b"kills": b"yes"}
        assert (letter.reason, letter.deliveries) == (
            f"it was being worked on when {LEAST_CRASHES} processes died",
            LEAST_CRASHES,
        )
        assert [one.returncode for one in running] == [None, None]
    finally:
        for process in processes:
            await process.kill()
        await redis.delete(EFFECTS, "attempts")


async def _is_settled(redis, stream):
    [group] = await redis.xinfo_groups(stream.key)
    return group["lag"] == 0 and group["pending"] == 0
