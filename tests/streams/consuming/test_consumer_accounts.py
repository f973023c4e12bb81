"""A consumer of several accounts and channels: what lasts in one holds up no other, and loses nothing itself."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import replace

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from router.core.errors import ServerError
from router.streams.consuming import admission
from router.streams.consuming.admission import SHARE
from router.streams.consuming.groups import ensure_group
from router.streams.consuming.window import HELD_PER_SLOT
from router.streams.delivery import Delivery, Done, StreamRef
from router.streams.store.parking import Parking, Waiting
from tests.streams.bench import GROUP, LIMITS
from tests.support.waiting import until

pytestmark = pytest.mark.real
SMALL = replace(LIMITS, window=4, batch=5, grace=0.1)


def account_of(delivery):
    """The first letter of an entry's name."""
    return delivery.text("n")[0]


@pytest.fixture
def stuck(bench, monkeypatch):
    """An event that attempts of account a wait for; attempts of other accounts are done at once."""
    monkeypatch.setattr(admission, "PATIENCE", 0.01)
    freed = asyncio.Event()
    done = []

    async def attempt(delivery):
        bench.deliveries.append(delivery)
        if account_of(delivery) == "a":
            await freed.wait()
        done.append(delivery.text("n"))
        return Done()

    freed.attempt, freed.done = attempt, done
    return freed


async def test_other_accounts_pass_and_the_stuck_one_loses_nothing(bench, stuck):
    """Far more entries of one account than fit, then others: once freed, each is done once, in its subject's order."""
    for number in range(60):
        await bench.add(f"a{number}", subject=f"s{number % 7}")
    async with bench.make(limits=SMALL, attempt=stuck.attempt, account=account_of).running():
        await bench.add(*[f"b{number}" for number in range(30)])
        await until(lambda: len(stuck.done) == 30)
        assert all(name.startswith("b") for name in stuck.done)
        stuck.set()
        await until(bench.is_settled)
    assert Counter(stuck.done).most_common(1)[0][1] == 1
    theirs = [int(name[1:]) for name in stuck.done if name.startswith("a")]
    assert sorted(theirs) == list(range(60))
    for subject in range(7):
        of_one = [number for number in theirs if number % 7 == subject]
        assert of_one == sorted(of_one)


async def test_parking_an_entry_without_an_attempt_is_not_a_delivery(bench, stuck):
    """Its delivery count stays at one, and it is not marked as redelivered."""
    await bench.add(*[f"a{number}" for number in range(20)])
    async with bench.make(limits=SMALL, attempt=stuck.attempt, account=account_of).running():
        await bench.add("b0")
        await until(lambda: stuck.done == ["b0"])
        await until(bench.parked)
        stuck.set()
        await until(bench.is_settled)
    assert not any(delivery.is_redelivered for delivery in bench.deliveries)


async def test_parked_entries_outlive_their_consumer_and_a_survivor_does_them(bench, stuck, lines):
    """Only entries in the window are handed back; the others are parked, and the next process brings them back."""
    await bench.add(*[f"a{number}" for number in range(20)])
    async with bench.make(limits=SMALL, attempt=stuck.attempt, account=account_of).running():
        await bench.add("b0")
        await until(lambda: stuck.done == ["b0"])
        await until(lambda: bench.is_parked(18))
    assert [line["handed_back"] for line in lines("process.stopping")] == [2]
    assert len(await bench.pending()) == 2
    stuck.set()
    async with bench.make(limits=SMALL, attempt=stuck.attempt, account=account_of).running():
        await until(bench.is_settled)
    assert sorted(stuck.done[1:]) == sorted(f"a{number}" for number in range(20))


async def test_an_outage_of_one_account_leaves_the_window_to_others(bench):
    """Waiting entries are parked, whatever their number: others go on, and after the outage each is done once."""
    freed = asyncio.Event()

    async def attempt(delivery):
        if account_of(delivery) == "a" and not freed.is_set():
            raise ServerError("away")
        bench.attempts.append(delivery.text("n"))
        return Done()

    await bench.add(*[f"a{number}" for number in range(300)])
    consumer = bench.make(limits=SMALL, attempt=attempt, account=account_of)
    async with consumer.running():
        await until(bench.parked)
        await bench.add(*[f"b{number}" for number in range(30)])
        await until(lambda: len(bench.attempts) == 30)
        await until(lambda: consumer._window.held == 0)
        assert not await bench.is_settled()
        freed.set()
        await until(bench.is_settled)
    assert len(bench.attempts) == len(set(bench.attempts)) == 330
    assert await bench.letters() == []


async def test_one_customer_of_many_events_waits_for_itself_only(bench):
    """Its calls fail for ever: it takes one place for a moment now and then, and other customers are served."""

    async def attempt(delivery):
        if delivery.text("s") == "hot":
            raise ServerError("500", status=500)
        bench.attempts.append(delivery.text("n"))
        return Done()

    await bench.add(*[f"h{number}" for number in range(500)], subject="hot")
    limits = replace(SMALL, retry_delay=0.5)
    consumer = bench.make(limits=limits, attempt=attempt)
    async with consumer.running():
        await until(lambda: bench.is_parked(500))
        await until(lambda: consumer._window.held == 0)
        for number in range(20):
            await bench.add(f"o{number}", subject=f"other{number}")
        await until(lambda: len(bench.attempts) == 20)
        assert not consumer._lanes.of("").is_closed
    assert len(await bench.parked()) >= 499


async def test_customers_who_never_stop_writing_share_their_places(bench, monkeypatch):
    """Two of them have all places of their channel and always a further event: a third one is served soon."""
    monkeypatch.setattr(admission, "YIELD_AFTER", 0.01)
    names = itertools.count(2)

    async def attempt(delivery):
        bench.attempts.append(delivery.text("n"))
        if delivery.text("s") != "third":
            await bench.add(f"h{next(names)}", subject=delivery.text("s"))
            await until(lambda: has_next(consumer._names.subject(delivery)))
        return Done()

    async def has_next(subject):
        return consumer._window.queued(subject) or any(one.subject == subject for one in await bench.parked())

    for number in range(2):
        await bench.add(f"h{number}", subject=f"hot{number}")
    consumer = bench.make(limits=SMALL, attempt=attempt)
    async with consumer.running():
        await until(lambda: len(bench.attempts) >= 10)
        begun = len(bench.attempts)
        await bench.add("t", subject="third")
        await until(lambda: "t" in bench.attempts or len(bench.attempts) > begun + 200)
    assert "t" in bench.attempts


async def test_a_customer_that_is_well_again_is_drained_in_order(bench):
    """After the first success the rest comes in whole batches, in the order of the stream."""
    is_well = False

    async def attempt(delivery):
        if not is_well:
            raise ServerError("500", status=500)
        bench.attempts.append(int(delivery.text("n")))
        return Done()

    await bench.add(*map(str, range(300)), subject="hot")
    async with bench.make(limits=replace(SMALL, retry_delay=0.5), attempt=attempt).running():
        await until(lambda: bench.is_parked(300))
        is_well = True
        await until(bench.is_settled)
    assert bench.attempts == list(range(300))


async def test_of_two_channels_of_an_account_one_that_hangs_leaves_room_for_the_other(bench, stuck):
    """A lane is an account and a channel."""

    def lane_of(delivery):
        return f"one {account_of(delivery)}"

    await bench.add(*[f"a{number}" for number in range(50)])
    consumer = bench.make(limits=SMALL, attempt=stuck.attempt, account=lambda _: "one", lane=lane_of)
    async with consumer.running():
        await bench.add(*[f"b{number}" for number in range(30)])
        await until(lambda: len(stuck.done) == 30)
        assert consumer._lanes.of("one a").running < SMALL.window
        stuck.set()
        await until(bench.is_settled)


async def test_a_lane_has_the_same_name_in_memory_and_in_redis(bench, stuck):
    """However it is written: what is brought back must count for the lane that was asked."""
    await bench.add(*[f"a{number}" for number in range(20)])
    consumer = bench.make(limits=SMALL, attempt=stuck.attempt, lane=lambda _: "one  \n thing ")
    async with consumer.running():
        await until(lambda: bench.is_parked(18))
        assert {one.lane for one in await bench.parked()} == {"one thing"}
        assert (consumer._lanes.of("one thing").running, consumer._lanes.room("one thing")) == (2, 0)
        stuck.set()
        await until(bench.is_settled)


async def test_a_server_that_cannot_park_holds_up_no_other(bench, stuck, redis, keys, monkeypatch):
    """What is on it stays pending, and the rest of the same lane is parked."""
    parker, park = bench.make(attempt=stuck.attempt)._parker, Parking.park

    async def fail_for_one(self, stream, *args, **options):
        if stream.partition == 1:
            raise RedisConnectionError("away")
        return await park(self, stream, *args, **options)

    monkeypatch.setattr(Parking, "park", fail_for_one)
    streams, deliveries = [StreamRef(1, keys.inbound(1)), bench.stream], []
    for stream in streams:
        await ensure_group(redis, stream.key, GROUP)
        await redis.xadd(stream.key, {"n": "a"})
        [[_, [(entry_id, fields)]]] = await redis.xreadgroup(GROUP, parker._parking._consumer, {stream.key: ">"})
        deliveries.append(Delivery(stream, entry_id.decode(), fields))
    await parker.park(deliveries, Waiting("", "away"))
    assert [(await redis.xpending(stream.key, GROUP))["pending"] for stream in streams] == [1, 0]
    assert [one.entry_id for one in await bench.parked()] == [deliveries[1].entry_id]


async def test_an_intake_settles_no_entry_behind_one_that_is_parked(bench, stuck):
    """An entry behind a parked one is parked before the intake sees it."""
    seen = []

    async def intake(deliveries):
        seen.extend(delivery.text("n") for delivery in deliveries)
        return deliveries

    consumer = bench.make(limits=SMALL, attempt=stuck.attempt, account=account_of, intake=intake)
    for number in range(10):
        await bench.add(f"a{number}", subject=f"s{number}")
    async with consumer.running():
        await until(bench.parked)
        parked = (await bench.parked())[-1]
        [(_, fields)] = await bench.redis.xrange(bench.stream.key, parked.entry_id, parked.entry_id)
        await bench.add("a-last", subject=fields[b"s"].decode())
        await bench.add("b0")
        await until(lambda: stuck.done == ["b0"])
        assert "a-last" not in seen
        stuck.set()
        await until(bench.is_settled)
    assert stuck.done.index(fields[b"n"].decode()) < stuck.done.index("a-last")
    assert len(stuck.done) == 12


async def test_entries_that_were_deleted_while_parked_are_logged(bench, stuck, lines):
    """Somebody emptied the stream: what comes back is nothing, and is said."""
    await bench.add(*[f"a{number}" for number in range(20)])
    async with bench.make(limits=SMALL, attempt=stuck.attempt, account=account_of).running():
        await until(lambda: bench.is_parked(18))
        for one in await bench.parked():
            await bench.redis.xdel(bench.stream.key, one.entry_id)
        stuck.set()
        await until(bench.is_settled)
        await until(lambda: sum(line["entries"] for line in lines("parked.gone")) == 18)
    assert len(stuck.done) == 2


async def most_are_parked(bench):
    return len(await bench.parked()) >= 60 - 1 - SMALL.window * HELD_PER_SLOT // SHARE


async def test_entries_behind_one_that_hangs_do_not_gather_in_the_window(bench, stuck):
    """One customer's entries leave most of the window to others; the rest is parked, and follows in order."""
    await bench.add(*[f"a{number}" for number in range(60)], subject="hot")
    consumer = bench.make(limits=SMALL, attempt=stuck.attempt, account=account_of)
    async with consumer.running():
        await until(lambda: most_are_parked(bench))
        await bench.add(*[f"b{number}" for number in range(10)])
        await until(lambda: len(stuck.done) == 10)
        assert consumer._window.held <= 1 + 3 * SMALL.batch
        stuck.set()
        await until(bench.is_settled)
    assert [name for name in stuck.done if name.startswith("a")] == [f"a{number}" for number in range(60)]


async def test_a_new_consumer_overtakes_no_entry_that_was_parked_before_it_began(bench, redis, keys):
    """It parks what is behind from its first batch on, before it has looked for parked entries."""
    ids = await bench.add("first", "second", subject="s")
    await ensure_group(redis, bench.stream.key, GROUP)
    await redis.xreadgroup(GROUP, "gone", {bench.stream.key: ">"}, count=1)
    parking = Parking(redis, keys, group=GROUP, consumer="gone")
    await parking.park(bench.stream, [(" s", Delivery(bench.stream, ids[0], {}))], Waiting("", "away", delay=1))
    async with bench.make().running():
        await until(bench.is_settled)
    assert bench.attempts == ["first", "second"]
