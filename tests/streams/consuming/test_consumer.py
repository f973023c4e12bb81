"""A consumer: the effect of each verdict and each kind of failure on an entry and its neighbors."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest
from redis.exceptions import BusyLoadingError, OutOfMemoryError, ReadOnlyError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from router.core.errors import AuthenticationError, RateLimitError, ServerError, TransportError, UnusableError
from router.core.keys import Keys
from router.streams.consuming import admission
from router.streams.consuming.attempts import AttemptOutcome, Tries
from router.streams.consuming.consumer import Limits
from router.streams.consuming.groups import ensure_group
from router.streams.delivery import Delivery, Done, Later, Poison, StreamRef
from router.streams.store.dead_letters import replay_all
from router.streams.store.parking import Parking
from tests.streams.bench import GROUP, LIMITS, Bench
from tests.support.waiting import deadline, scaled, until

pytestmark = [pytest.mark.real, pytest.mark.promise(4)]


async def test_a_done_entry_is_acknowledged(bench):
    """Entries from before the start and from afterwards are attempted once, as new ones, and acknowledged."""
    await bench.add("early")
    async with bench.make().running():
        await until(lambda: bench.attempts)
        await bench.add("late")
        await until(lambda: len(bench.attempts) == 2)
        await until(bench.is_settled)
    assert bench.attempts == ["early", "late"]
    assert not any(delivery.is_redelivered for delivery in bench.deliveries)
    assert bench.results == {}


async def test_a_clean_stop_leaves_no_consumer_and_no_heartbeat(bench):
    """After it the group has no such consumer, and the heartbeat key is deleted."""
    consumer = bench.make()
    async with consumer.running():
        assert await bench.redis.exists(bench.keys.heartbeat(0, GROUP, consumer.name))
        await bench.add("a")
        await until(lambda: bench.attempts)
        await until(bench.is_settled)
    assert await bench.redis.xinfo_consumers(bench.stream.key, GROUP) == []
    assert not [key async for key in bench.redis.scan_iter("*heartbeat*")]


async def test_later_is_tried_again_without_counting(bench):
    """However often an entry must wait, its delivery count stays one, and it is done in the end."""
    counts = []

    async def note(_):
        counts.extend((await bench.pending()).values())
        return Later("not yet", 0)

    bench.script["a"] = [note] * 8
    await bench.add("a")
    async with bench.make().running():
        await until(bench.is_settled)
    assert bench.attempts == ["a"] * 9
    assert set(counts) == {1}
    assert bench.results == {"waiting": 8}
    assert await bench.letters() == []


@pytest.mark.parametrize(("is_usual", "number"), [(False, 1), (True, 0)], ids=["unusual", "usual"])
async def test_an_unusual_wait_is_logged_once_and_a_usual_one_never(bench, lines, is_usual, number):
    """However often an entry waits there is one line in the log, and none if waiting is expected."""
    bench.script["a"] = [Later("not yet", 0.001, is_usual=is_usual)] * 4
    await bench.add("a")
    async with bench.make().running():
        await until(bench.is_settled)
    assert [line["reason"] for line in lines("event.waiting")] == ["not yet"] * number
    assert bench.results == {"waiting": 4}


@pytest.mark.parametrize(
    ("tries", "later", "pause"),
    [
        (0, Later("not yet", 0.05), 0.05),
        (3, Later("not yet", 0.05), 0.4),
        (10, Later("not yet", 0.05), 30.0),
        (3, Later("not yet", 0.05, longest=1.0), 0.4),
        (10, Later("not yet", 0.05, longest=1.0), 1.0),
        (10, Later("not yet", 45.0, longest=1.0), 45.0),
    ],
)
async def test_waits_double_up_to_a_limit_of_their_own(bench, tries, later, pause):
    """A wait that is sure to end soon is checked often; no wait is shorter than asked for."""
    [entry_id] = await bench.add("a")
    state = Tries(Delivery(bench.stream, entry_id, {}), tries)
    assert await bench.make()._attempts._settle(state, later) is AttemptOutcome.RETRY
    assert state.pause == pytest.approx(pause)


async def test_only_an_unsure_later_makes_the_next_attempt_a_redelivered_one(bench):
    """An attempt that cannot have had an effect leaves the delivery as new as it was."""
    bench.script["sure"] = [Later("not yet", 0)]
    bench.script["unsure"] = [Later("no answer", 0, is_unsure=True), Later("not yet", 0)]
    await bench.add("sure", "unsure", subject="one after the other")
    async with bench.make().running():
        await until(bench.is_settled)
    assert bench.attempts == ["sure", "sure", "unsure", "unsure", "unsure"]
    assert [one.is_redelivered for one in bench.deliveries] == [False, False, False, True, True]


async def test_waiting_resets_the_delivery_count_of_a_claimed_entry(bench):
    """A consumer that finds the API unavailable excuses the deliveries to earlier consumers that died."""
    [entry_id] = await bench.add("a")
    await ensure_group(bench.redis, bench.stream.key, GROUP)
    await bench.redis.xreadgroup(GROUP, "dead", {bench.stream.key: ">"})
    await bench.redis.xclaim(bench.stream.key, GROUP, "dead", 0, [entry_id], idle=3_600_000, retrycount=9, justid=True)
    bench.script["a"] = [Later("not yet", 60)]
    async with bench.make(limits=Limits(heartbeat_ttl=0.4, grace=0)).running():
        [parked] = await until(bench.parked)
    assert (parked.entry_id, parked.deliveries) == (entry_id, 1)


async def test_poison_is_a_dead_letter_at_once(bench, lines):
    """It is not retried; the letter has its reason, origin and number of deliveries, and the entry is settled."""
    bench.script["bad"] = [Poison("never")]
    [entry_id] = await bench.add("bad")
    consumer = bench.make()
    async with consumer.running():
        await until(bench.letters)
        assert await bench.is_settled()
    [letter] = await bench.letters()
    assert (letter.stream, letter.entry_id, letter.fields) == (bench.stream.key, entry_id, {b"n": b"bad"})
    assert (letter.reason, letter.group, letter.consumer, letter.deliveries) == ("never", GROUP, consumer.name, 1)
    assert letter.failed_at.endswith("Z")
    assert bench.attempts == ["bad"]
    assert bench.results == {"dead": 1}
    assert [line["reason"] for line in lines("event.dead")] == ["never"]


async def test_exceptions_count_and_after_max_deliveries_the_entry_is_a_dead_letter(bench, lines):
    """Each failure is one more delivery; after `max_deliveries` of them the letter has the last reason."""
    bench.script["bad"] = [ValueError(f"failure {number}") for number in range(10)]
    await bench.add("bad", "good")
    async with bench.make().running():
        await until(bench.letters)
        await until(bench.is_settled)
    [letter] = await bench.letters()
    assert bench.attempts.count("bad") == LIMITS.max_deliveries
    assert (letter.deliveries, letter.reason) == (LIMITS.max_deliveries, "ValueError: failure 2")
    assert bench.attempts.count("good") == 1
    assert bench.results == {"failed": 3, "dead": 1}
    assert [line["deliveries"] for line in lines("event.failed")] == [1, 2, 3]
    assert [line["deliveries"] for line in lines("event.dead")] == [letter.deliveries]


async def test_an_entry_that_fails_less_often_than_the_limit_is_done(bench):
    """Its later attempts are marked as redelivered."""
    bench.script["a"] = [ValueError("once"), UnusableError("twice")]
    await bench.add("a")
    async with bench.make().running():
        await until(bench.is_settled)
    assert [one.is_redelivered for one in bench.deliveries] == [False, True, True]
    assert await bench.letters() == []


async def test_the_count_of_failures_survives_a_restart(bench):
    """A new consumer goes on counting where the last one stopped: restarts do not keep a failing entry alive."""
    limits = Limits(max_deliveries=3, retry_delay=60, heartbeat_ttl=0.4, grace=0)
    bench.script["bad"] = [ValueError("bad")] * 10
    await bench.add("bad")
    for attempts in (1, 2):
        async with bench.make(limits=limits).running():
            await until(lambda attempts=attempts: len(bench.attempts) == attempts)
            await until(lambda attempts=attempts: bench.results["failed"] == attempts)
            await until(lambda: _has_counted(bench, 2))
        parking = Parking(bench.redis, bench.keys, group=GROUP, consumer="nobody")
        await parking.resume(bench.stream, [one.subject for one in await bench.parked()])  # it need not wait until due
    async with bench.make(limits=limits).running():
        await until(bench.letters)
    assert len(bench.attempts) <= limits.max_deliveries


async def _has_counted(bench, least):
    return all(count >= least for count in (await bench.pending()).values())


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("away"),
        RedisTimeoutError("stalled"),
        BusyLoadingError("restarted"),
        ReadOnlyError("failed over"),
        OutOfMemoryError("full"),
        ConnectionResetError("away"),
        TimeoutError(),
        TransportError("the answer was lost", is_sent=True),
        ServerError("500", status=500),
        RateLimitError("429", status=429, retry_after=0.01),
        AuthenticationError("401", status=401),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_failures_that_are_not_the_entrys_fault_never_count(bench, error):
    """Redis or the API down, too many requests, wrong credentials: far more failures than the limit, and no letter."""
    bench.script["a"] = [error] * 8
    await bench.add("a")
    async with bench.make(limits=replace(LIMITS, max_deliveries=1, retry_delay=0.001)).running():
        await until(lambda: len(bench.attempts) == 9)
        await until(bench.is_settled)
    assert await bench.letters() == []
    assert not bench.results["failed"]


async def test_a_canceled_future_inside_an_attempt_counts_as_a_failure(bench):
    """If something that the attempt awaited was canceled, not the attempt, entries behind it go on."""
    bench.script["a"] = [asyncio.CancelledError()]
    await bench.add("a", "b", "c", subject="same")
    async with bench.make().running():
        await until(bench.is_settled)
    assert bench.attempts == ["a", "a", "b", "c"]
    assert bench.results == {"failed": 1}


async def test_an_exception_that_cannot_be_formatted_is_given_up_like_others(bench):
    """Text that is not UTF-8, and an exception whose message raises, end as dead letters too."""

    class Mute(Exception):  # noqa: N818 - a class that no product code sees
        def __str__(self):
            raise RuntimeError

    bench.script["surrogate"] = [ValueError("\ud800")] * 5
    bench.script["mute"] = [Mute()] * 5
    await bench.add("surrogate", "mute", "behind", subject="same")
    async with bench.make().running():
        await until(bench.is_settled)
    assert [letter.fields[b"n"] for letter in await bench.letters()] == [b"surrogate", b"mute"]
    assert bench.attempts[-1] == "behind"


async def test_the_message_of_an_exception_is_in_the_letter_and_not_in_the_log(bench, lines):
    """It may quote an address: the dead letter keeps it for the operator, no log line shows it."""
    bench.script["a"] = [ValueError("+14155550101")] * 5
    await bench.add("a")
    async with bench.make().running():
        await until(bench.letters)
    [letter] = await bench.letters()
    assert "+14155550101" in letter.reason
    assert lines("event.dead")
    assert "+14155550101" not in str(lines())


async def test_neighbors_pass_an_entry_that_fails(bench):
    """Other subjects do not wait for a failing one; its own subject does, in order."""
    neighbors = [f"n{number}" for number in range(50)]

    async def fail_after_the_neighbors(_):
        await until(lambda: set(neighbors) <= set(bench.attempts))
        return ValueError("bad")

    bench.script["bad"] = [ValueError("bad"), fail_after_the_neighbors]
    await bench.add("bad", "behind", subject="same")
    await bench.add(*neighbors)
    async with bench.make().running():
        await until(bench.is_settled)
    assert bench.attempts[-2:] == ["bad", "behind"]
    assert await bench.letters() == []


async def test_pauses_double_with_each_failure_and_only_short_ones_are_spent_in_the_window(bench):
    """The pause doubles from `retry_delay`; once all pauses together exceed STAY the entry is parked, and goes on."""
    bench.script["a"] = [ServerError("500", status=500)] * 9
    [entry_id] = await bench.add("a", subject="s")
    async with bench.make(limits=replace(LIMITS, retry_delay=0.5)).running():
        await until(bench.parked)
        [parked] = await bench.parked()
        assert (parked.entry_id, parked.tries, parked.is_begun) == (entry_id, 3, True)
        assert parked.due - parked.since == 2_000
        assert "500" in parked.reason
        assert await bench.pending() == {}
        assert len(bench.attempts) == 3
        await until(lambda: len(bench.attempts) == 4)
        await until(bench.parked)
        [parked] = await bench.parked()
        assert parked.tries == 4
        bench.script["a"].clear()
        await until(bench.is_settled)
    assert len(bench.attempts) == 5
    assert bench.deliveries[-1].is_redelivered


async def test_entries_of_one_subject_are_done_in_order(bench):
    """Over several batches, with other subjects between them and failures on the way."""
    for number in range(60):
        bench.script[f"a{number}"] = [ValueError("once")] if number % 7 == 0 else []
        await bench.add(f"a{number}", subject="a")
        await bench.add(f"b{number}", subject="b")
    async with bench.make().running():
        await until(bench.is_settled)
    order = list(dict.fromkeys(name for name in bench.attempts if name.startswith("a")))
    assert order == [f"a{number}" for number in range(60)]


async def test_intake_settles_a_batch_and_leaves_the_rest_to_be_attempted(bench):
    """Deliveries that intake acknowledges are never attempted; those that it returns are."""
    seen = []

    async def intake(deliveries):
        seen.extend(deliveries)
        even = [one for one in deliveries if int(one.text("n")) % 2 == 0]
        await consumer.acknowledge(even)
        return [one for one in deliveries if one not in even]

    consumer = bench.make(intake=intake)
    await bench.add(*map(str, range(25)))
    async with consumer.running():
        await until(bench.is_settled)
    assert [one.text("n") for one in seen] == [str(number) for number in range(25)]
    assert sorted(map(int, bench.attempts)) == list(range(1, 25, 2))
    assert consumer._pending.held == set()


async def test_after_an_intake_that_fails_each_entry_is_attempted_by_itself(bench, lines):
    """A batch that cannot be settled as a whole is attempted one by one, and the failure is logged."""

    async def intake(_):
        raise ValueError("+14155550101")

    await bench.add(*map(str, range(5)))
    async with bench.make(intake=intake).running():
        await until(bench.is_settled)
    assert sorted(bench.attempts) == list("01234")
    [line] = lines("batch.failed")
    assert "+14155550101" not in str(line)


@pytest.mark.parametrize("name", ["subject", "account"])
async def test_an_entry_whose_subject_or_account_cannot_be_read_is_attempted(bench, name):
    """The function that reads it may raise: the entry is worked on by itself, and its neighbors are not held up."""

    def read(delivery):
        if delivery.text("n") == "odd":
            raise LookupError
        return delivery.entry_id

    await bench.add("a", "odd", "b")
    async with bench.make(**{name: read}).running():
        await until(bench.is_settled)
    assert sorted(bench.attempts) == ["a", "b", "odd"]


async def test_what_finds_no_room_is_parked_and_comes_back(bench, monkeypatch):
    """One lane takes half of the window at most; the rest waits outside it, and no entry is done twice."""
    monkeypatch.setattr(admission, "PATIENCE", 0.01)
    gate = asyncio.Event()

    async def wait(_):
        await gate.wait()
        return Done()

    names = [f"n{number}" for number in range(100)]
    bench.script = {name: [wait] for name in names}
    await bench.add(*names)
    async with bench.make(limits=replace(LIMITS, window=12)).running():
        await until(lambda: bench.is_parked(94))
        assert len(bench.attempts) == len(await bench.pending()) == 6
        gate.set()
        await until(bench.is_settled)
    assert sorted(bench.attempts) == sorted(names)


async def test_entries_of_a_slow_consumer_are_not_attempted_twice(bench):
    """Idle for longer than any limit, with a rival beside: nothing is redelivered, not even to the consumer itself."""
    limits = Limits(window=5, heartbeat_ttl=0.2, grace=2)
    gate = asyncio.Event()

    async def wait(_):
        await gate.wait()
        return Done()

    bench.script = {"a": [wait], "b": [wait]}
    await bench.add("a", "b")
    async with bench.make(limits=limits).running(), bench.make(limits=limits).running():
        await until(lambda: len(bench.attempts) == 2)
        await until(lambda: _is_idle(bench, scaled(1.0) * 1_000))
        gate.set()
        await until(bench.is_settled)
    assert sorted(bench.attempts) == ["a", "b"]


async def _is_idle(bench, least):
    rows = await bench.redis.xpending_range(bench.stream.key, GROUP, "-", "+", 10)
    return all(row["time_since_delivered"] >= least for row in rows)


async def test_stopping_finishes_what_runs_and_hands_back_the_rest(bench, lines):
    """An attempt that ends within the grace is done; the rest stays pending for a survivor, and the log counts it."""

    async def finish(_):
        await until(lambda: consumer._window.is_closing)
        return Done()

    async def wait(_):
        await asyncio.Event().wait()

    bench.script = {"quick": [finish], "stuck": [wait]}
    ids = await bench.add("quick", "stuck")
    consumer = bench.make(limits=replace(LIMITS, grace=0.3))
    async with consumer.running():
        await until(lambda: len(bench.attempts) == 2)
    assert list(await bench.pending()) == [ids[1]]
    assert [line["handed_back"] for line in lines("process.stopping")] == [1]
    async with bench.make().running():
        await until(bench.is_settled)
    assert bench.attempts == ["quick", "stuck", "stuck"]
    assert bench.deliveries[-1].is_redelivered


async def test_an_entry_that_another_consumer_took_over_is_left_to_it(bench):
    """A failure of an entry that belongs to another consumer by now is not counted and makes no letter."""
    [entry_id] = await bench.add("a")

    async def lose(_):
        await bench.redis.xclaim(bench.stream.key, GROUP, "other", 0, [entry_id], justid=True)
        raise ValueError("too late")

    bench.script["a"] = [lose] * 5
    limits = Limits(max_deliveries=0, retry_delay=0.01, heartbeat_ttl=60, grace=2)
    async with bench.make(limits=limits).running():
        await until(lambda: bench.results["failed"] == 1)
        await bench.add("b")
        await until(lambda: "b" in bench.attempts)
    assert bench.attempts == ["a", "b"]
    assert await bench.letters() == []


async def test_a_lost_acknowledgment_is_repeated_and_never_a_failure(bench, monkeypatch):
    """If Redis does not answer the acknowledgment the attempt is repeated, marked as redelivered, until it does."""
    consumer, failures = bench.make(), [RedisConnectionError("gone")] * 2
    acknowledge = consumer.acknowledge

    async def fail_twice(deliveries):
        if failures:
            raise failures.pop()
        await acknowledge(deliveries)

    monkeypatch.setattr(consumer, "acknowledge", fail_twice)
    await bench.add("a")
    async with consumer.running():
        await until(bench.is_settled)
    assert [one.is_redelivered for one in bench.deliveries] == [False, True, True]
    assert await bench.letters() == []


async def test_a_stream_that_cannot_be_read_ends_the_consumer(bench, lines):
    """A key of another type in the stream's place needs operator action: `failed` returns and the log says why."""
    consumer = bench.make()
    async with consumer.running():
        failing = asyncio.create_task(consumer.failed())
        await bench.add("a")
        await until(bench.is_settled)
        assert not failing.done()
        await bench.redis.set(bench.stream.key, "no stream", ex=60)
        async with deadline(10):
            await failing
    await bench.redis.delete(bench.stream.key)
    [line] = lines("reading.failed")
    assert "WRONGTYPE" in line["reason"]


async def test_several_streams_are_read_at_once(redis, redis_url):
    """One consumer reads all partitions; entries are acknowledged, or become dead letters, in their own."""
    keys = Keys(partitions=3)
    streams = [StreamRef(number, keys.inbound(number)) for number in range(3)]
    bench = Bench(redis, redis_url, keys, streams[0])
    bench.script["1"] = [Poison("never")]
    for number, stream in enumerate(streams):
        await redis.xadd(stream.key, {"n": number})
    async with bench.make(streams=streams).running():
        await until(lambda: len(bench.attempts) == 3)
        await until(bench.letters)
    assert sorted(bench.attempts) == ["0", "1", "2"]
    [letter] = await bench.letters()
    assert (letter.partition, letter.stream) == (1, streams[1].key)
    for stream in streams:
        assert (await redis.xpending(stream.key, GROUP))["pending"] == 0


async def test_a_replayed_dead_letter_is_attempted_again(bench):
    """Once the cause is fixed the entry comes back, marked, and is done."""
    bench.script["a"] = [Poison("never")]
    await bench.add("a")
    async with bench.make().running():
        await until(bench.letters)
        [letter] = await bench.letters()
        await replay_all(bench.redis, bench.keys, [letter], replayed_at="now")
        await until(lambda: len(bench.attempts) == 2)
        await until(bench.is_settled)
    assert bench.deliveries[-1].fields == {b"n": b"a", b"replayed": b"now"}
    assert await bench.letters() == []


async def test_a_restart_of_redis_costs_time_and_no_entry(own_server, clients, keys, stream):
    """Killed and started again in the middle: all entries are done, none is a dead letter."""
    redis = clients(own_server.url, timeout=scaled(1))
    bench, done = Bench(redis, own_server.url, keys, stream), set()

    async def attempt(delivery):
        await redis.sadd("done", delivery.text("n"))
        done.add(delivery.text("n"))
        return Done()

    names = [f"n{number}" for number in range(300)]
    await bench.add(*names[:200])
    async with bench.make(attempt=attempt).running():
        await until(lambda: len(done) > 20)
        own_server.kill()
        await own_server.start()
        await bench.add(*names[200:])
        await until(bench.is_settled)
    assert await redis.smembers("done") == {name.encode() for name in names}
    assert await bench.letters() == []


async def test_a_consumer_does_not_start_without_redis(clients, keys, stream):
    """The start fails with the error, and nothing is left running."""
    url = "redis://127.0.0.1:1/0"
    bench = Bench(clients(url), url, keys, stream)
    with pytest.raises(RedisConnectionError):
        async with bench.make().running():
            pytest.fail("it started")
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_an_error_inside_the_block_still_stops_the_consumer(bench):
    """Whatever ends the block, reading stops and the name is removed from the group."""
    with contextlib.suppress(ZeroDivisionError):
        async with bench.make().running():
            raise ZeroDivisionError
    assert await bench.redis.xinfo_consumers(bench.stream.key, GROUP) == []


async def test_a_missing_file_counts_as_a_failure(bench):
    """Not every OSError is an outage: an entry whose handler cannot open a file ends as a dead letter."""
    bench.script["a"] = [FileNotFoundError("gone")] * 9
    await bench.add("a")
    async with bench.make(limits=replace(LIMITS, max_deliveries=2, retry_delay=0.001)).running():
        await until(bench.letters)
    assert len(bench.attempts) == 2
