"""The watchdog: whatever happens to Redis, the same process resumes reading, with pauses and few log lines."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace

import pytest

from router.streams.delivery import Done, Limits
from router.tasks import end
from tests.streams.bench import GROUP, is_settled, make_consumer
from tests.support.relay import REDIS, Relay
from tests.support.waiting import deadline, scaled, until

pytestmark = pytest.mark.real

LIMITS = Limits(window=20, batch=10, retry_delay=0.05, heartbeat_ttl=0.6, grace=2)
#: XREADGROUPs that a reader may send in vain before the watchdog stops it.
MAX_READS = 2_000


class Site:
    """A server of the test's own, and consumers on it."""

    def __init__(self, server, redis, consumers, keys, stream):
        self.server, self.redis, self.keys, self.stream = server, redis, keys, stream
        self.consumers = consumers
        self.done, self.began, self.gates = [], [], {}

    async def attempt(self, delivery):
        name = delivery.text("n")
        self.began.append(name)
        if name in self.gates:
            await self.gates[name].wait()
        self.done.append(name)
        return Done()

    def make(self, url=None):
        limits = replace(LIMITS, retry_delay=scaled(LIMITS.retry_delay))  # pauses double: so many log lines in any time
        url = url or self.server.url
        return make_consumer(self.consumers, url, self.keys, [self.stream], attempt=self.attempt, limits=limits)

    async def add(self, *names):
        for name in names:
            await self.redis.xadd(self.stream.key, {"n": name})

    async def has_done(self, *names):
        """Wait until these were done and the group has nothing left."""
        await until(lambda: set(names) <= set(self.done))
        await until(lambda: is_settled(self.redis, self.stream))

    async def reads(self):
        """Return the number of XREADGROUPs that the server got, refused ones included."""
        stats = (await self.redis.info("commandstats")).get("cmdstat_xreadgroup", {})
        return stats.get("calls", 0) + stats.get("rejected_calls", 0)


@pytest.fixture
def site(own_server, clients, keys, stream):
    return Site(own_server, *[clients(own_server.url, timeout=scaled(1)) for _ in range(2)], keys, stream)


async def destroy(site):
    await site.redis.xgroup_destroy(site.stream.key, GROUP)


async def delete(site):
    await site.redis.delete(site.stream.key)


async def flush(site):
    await site.redis.flushall()


async def restart_empty(site):
    await site.redis.flushall()
    site.server.kill()
    await site.server.start()


@pytest.mark.parametrize("accident", [destroy, delete, flush, restart_empty])
async def test_the_same_consumer_resumes_after_a_loss(site, lines, accident):
    """The group is created anew at 0, and everything appended afterwards is done; the same after a second loss."""
    consumer = site.make()
    async with consumer.running():
        failing = asyncio.create_task(consumer.failed())
        for number in (1, 2):
            await site.add(f"before {number}")
            await site.has_done(f"before {number}")
            await accident(site)
            await site.add(*[f"after {number} {name}" for name in range(30)])
            await site.has_done(*[f"after {number} {name}" for name in range(30)])
        assert not failing.done()
        failing.cancel()
    events = [line["event"] for line in lines() if line["level"] != "info"]
    assert events.count("reading.lost") == 2
    assert len(events) <= 12
    assert [line["group"] for line in lines("reading.resumed")] == [GROUP] * 2


async def test_an_entry_in_hand_when_the_group_is_lost_is_not_begun_twice(site):
    """The new group delivers it again while its attempt runs; it is acknowledged when that ends."""
    site.gates["slow"] = asyncio.Event()
    async with site.make().running():
        await site.add("slow")
        await until(lambda: site.began == ["slow"])
        await destroy(site)
        await site.add("next")
        await until(lambda: "next" in site.done)
        site.gates["slow"].set()
        await site.has_done("slow")
    assert site.began == ["slow", "next"]


async def test_a_primary_that_became_a_replica_is_waited_for_without_spinning(site, lines, caplog):
    """On READONLY it retries with growing pauses, logged once; as soon as writing is possible everything is done."""
    async with site.make().running():
        await site.add("before")
        await site.has_done("before")
        await site.redis.config_resetstat()
        await site.redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        await until(lambda: lines("reading.waiting"))
        asked = await site.reads()
        assert asked < MAX_READS
        await until(lambda: _is_refused(site, 3))
        assert await site.reads() == asked
        assert (await site.redis.info("stats"))["total_connections_received"] >= 3  # a new one each time
        await site.redis.execute_command("REPLICAOF", "NO", "ONE")
        await site.add("after")
        await site.has_done("after")
    [line] = lines("reading.waiting")
    assert "ReadOnlyError" in line["reason"]
    assert len([line for line in lines() if line["level"] != "info"]) <= 8
    gc.collect()
    assert [record.name for record in caplog.records] == []  # asyncio would log each failed read


async def _is_refused(site, least):
    stats = await site.redis.info("commandstats")
    return stats.get("cmdstat_xgroup|create", {}).get("rejected_calls", 0) >= least


async def test_a_consumer_that_waits_for_redis_stops_at_once(site, lines):
    """The watchdog ends with it."""
    async with site.make().running():
        await site.redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        await until(lambda: lines("reading.waiting"))
    await site.redis.execute_command("REPLICAOF", "NO", "ONE")
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "watchdog"]


@pytest.fixture
async def relay(site, clients):
    """A relay for all commands of the consumer."""
    async with Relay(site.server.url, REDIS).running() as relay:
        site.consumers = clients(f"redis://127.0.0.1:{relay.port}/0", timeout=scaled(1))
        yield relay


async def test_a_server_that_is_still_loading_is_waited_for(site, relay, lines):
    """While it loads it refuses every command: nothing spins, and afterwards reading goes on."""
    site.gates["slow"] = asyncio.Event()
    async with site.make(f"redis://127.0.0.1:{relay.port}/0").running():
        await site.add("slow")
        await until(lambda: site.began == ["slow"])
        relay.refusal = b"-LOADING Valkey is loading the dataset in memory\r\n"
        site.gates["slow"].set()  # its attempt ends meanwhile, and cannot be acknowledged
        await site.add("after")
        names = {"redis.failed", "heartbeat.failed", "claimer.failed"}
        await until(lambda: names <= {line["event"] for line in lines()})
        assert relay.refused < MAX_READS
        relay.refusal = None
        await site.add("later")
        await site.has_done("slow", "after", "later")
    events = [line["event"] for line in lines() if line["level"] != "info"]
    assert set(events) <= {*names, "parking.failed", "reading.lost"}
    assert len(events) <= 12


async def test_a_subscriber_whose_task_was_canceled_is_replaced(site, lines):
    """FastStream restarts a task that failed, but not one that was canceled; the watchdog notices."""
    consumer = site.make()
    async with consumer.running():
        await site.add("before")
        await site.has_done("before")
        [watchdog] = consumer._reading._watchdogs
        [subscriber] = watchdog._reader._subscribers
        await end(*subscriber.tasks)
        assert subscriber.running
        await site.add("after")
        await site.has_done("after")
    events = [line["event"] for line in lines() if line["event"].startswith("reading.")]
    assert events == ["reading.lost", "reading.resumed"]


async def test_a_key_of_another_type_ends_reading_and_is_left_alone(site, lines):
    """One line at level error names it, and reading does not go on."""
    consumer = site.make()
    async with consumer.running():
        failing = asyncio.create_task(consumer.failed())
        await site.redis.delete(site.stream.key)
        await site.redis.set(site.stream.key, "no stream", ex=60)
        async with deadline(10):
            await failing
        asked = await site.reads()
        assert asked < MAX_READS
    assert await site.redis.get(site.stream.key) == b"no stream"
    [line] = lines("reading.failed")
    assert line["level"] == "error"
    assert "WRONGTYPE" in line["reason"]
