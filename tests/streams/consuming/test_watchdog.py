"""The watchdog: whatever happens to Redis, the same process reads on, in pauses and with few words."""

from __future__ import annotations

import asyncio
import gc

import pytest

from router.streams.consuming.consumer import Limits, StreamConsumer
from router.streams.delivery import Done
from router.tasks import end
from tests.support.relay import REDIS, Relay
from tests.support.waiting import until

pytestmark = pytest.mark.real

GROUP = "resolver"
LIMITS = Limits(window=20, batch=10, retry_delay=0.05, heartbeat_ttl=0.6, grace=2)
#: What a reader may ask for in vain before it is noticed that it spins.
READS = 2_000


class Site:
    """A server of the test's own, and a consumer on it."""

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
        return StreamConsumer(
            redis=self.consumers,
            url=url or self.server.url,
            keys=self.keys,
            streams=[self.stream],
            group=GROUP,
            limits=LIMITS,
            attempt=self.attempt,
            subject=lambda delivery: delivery.entry_id,
        )

    async def add(self, *names):
        for name in names:
            await self.redis.xadd(self.stream.key, {"n": name})

    async def has_done(self, *names):
        """Wait until these were done and the group has nothing left."""
        await until(lambda: set(names) <= set(self.done), 20)
        await until(self._is_settled)

    async def _is_settled(self):
        [group] = await self.redis.xinfo_groups(self.stream.key)
        return group["lag"] == 0 and group["pending"] == 0

    async def reads(self):
        """Return how often XREADGROUP was asked for, refusals included."""
        stats = (await self.redis.info("commandstats")).get("cmdstat_xreadgroup", {})
        return stats.get("calls", 0) + stats.get("rejected_calls", 0)


@pytest.fixture
def site(own_server, clients, keys, stream):
    return Site(own_server, *[clients(own_server.url, timeout=1) for _ in range(2)], keys, stream)


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
async def test_after_a_loss_the_same_consumer_reads_on(site, lines, accident):
    """The group is made again at its stream's beginning, and all that is appended after the accident is done, twice."""
    consumer = site.make()
    async with consumer.running():
        losing = asyncio.create_task(consumer.failed())
        for number in (1, 2):
            await site.add(f"before {number}")
            await site.has_done(f"before {number}")
            await accident(site)
            await site.add(*[f"after {number} {name}" for name in range(30)])
            await site.has_done(*[f"after {number} {name}" for name in range(30)])
        assert not losing.done()
        losing.cancel()
    events = [line["event"] for line in lines if line["level"] != "info"]
    assert events.count("reading.lost") == 2
    assert len(events) <= 12
    assert [line["group"] for line in lines if line["event"] == "reading.resumed"] == [GROUP] * 2


async def test_what_is_being_worked_on_when_the_group_is_lost_is_not_begun_twice(site):
    """The new group delivers it once more while its attempt runs; it is acknowledged when that is done."""
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
    """READONLY: it waits in growing pauses and says so once; as soon as writing is possible all is done."""
    async with site.make().running():
        await site.add("before")
        await site.has_done("before")
        await site.redis.config_resetstat()
        await site.redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        await until(lambda: any(line["event"] == "reading.waiting" for line in lines))
        asked = await site.reads()
        assert asked < READS
        await until(lambda: _is_refused(site, 3))
        assert await site.reads() == asked
        assert (await site.redis.info("stats"))["total_connections_received"] >= 3  # each time anew: a new primary
        await site.redis.execute_command("REPLICAOF", "NO", "ONE")
        await site.add("after")
        await site.has_done("after")
    [line] = [line for line in lines if line["event"] == "reading.waiting"]
    assert "ReadOnlyError" in line["reason"]
    assert len([line for line in lines if line["level"] != "info"]) <= 8
    gc.collect()
    assert [record.name for record in caplog.records] == []  # asyncio would complain of each failed read


async def _is_refused(site, least):
    stats = await site.redis.info("commandstats")
    return stats.get("cmdstat_xgroup|create", {}).get("rejected_calls", 0) >= least


async def test_leaving_while_it_waits_for_redis_ends_at_once(site, lines):
    """A consumer that cannot read stops like any other."""
    async with site.make().running():
        await site.redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        await until(lambda: any(line["event"] == "reading.waiting" for line in lines))
    await site.redis.execute_command("REPLICAOF", "NO", "ONE")
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "watchdog"]


@pytest.fixture
async def relay(site, clients):
    """A relay that all of the consumer's commands go through."""
    async with Relay(("127.0.0.1", site.server.port), REDIS).running() as relay:
        site.consumers = clients(f"redis://127.0.0.1:{relay.port}/0", timeout=1)
        yield relay


async def test_a_server_that_is_still_loading_is_waited_for(site, relay, lines):
    """A restart with much to load refuses every command: nothing spins, and when it is over reading goes on."""
    site.gates["slow"] = asyncio.Event()
    async with site.make(f"redis://127.0.0.1:{relay.port}/0").running():
        await site.add("slow")
        await until(lambda: site.began == ["slow"])
        relay.refusal = b"-LOADING Valkey is loading the dataset in memory\r\n"
        site.gates["slow"].set()  # what was begun finishes meanwhile, and cannot be acknowledged
        await site.add("after")
        names = {"redis.failed", "heartbeat.failed", "claimer.failed"}
        await until(lambda: names <= {line["event"] for line in lines})
        assert relay.refused < READS
        relay.refusal = None
        await site.add("later")
        await site.has_done("slow", "after", "later")
    told = [line["event"] for line in lines if line["level"] != "info"]
    assert set(told) <= {*names, "reading.lost"}
    assert len(told) <= 12


async def test_a_subscriber_whose_task_has_ended_in_silence_is_replaced(site, lines):
    """FastStream starts a task again that failed, but none that was canceled: nobody reads then, which is noticed."""
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
    assert [line["event"] for line in lines if line["event"].startswith("reading.")] == [
        "reading.lost",
        "reading.resumed",
    ]


async def test_another_type_at_the_key_ends_it_loudly_and_leaves_the_key_alone(site, lines):
    """Nobody can tell what it is for: one line at level error names it, and reading does not go on."""
    consumer = site.make()
    async with consumer.running():
        losing = asyncio.create_task(consumer.failed())
        await site.redis.delete(site.stream.key)
        await site.redis.set(site.stream.key, "no stream", ex=60)
        await asyncio.wait_for(losing, 10)
        asked = await site.reads()
        assert asked < READS
    assert await site.redis.get(site.stream.key) == b"no stream"
    [line] = [line for line in lines if line["event"] == "reading.failed"]
    assert line["level"] == "error"
    assert "WRONGTYPE" in line["reason"]
