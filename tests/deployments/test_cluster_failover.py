"""A Cluster with replicas: they confirm node by node, and the replica of a crashed primary is found."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import RedisError

from router.core.errors import NotDurableError
from router.streams.client.connection import Script, run_all
from router.streams.client.scripts import Replication, confirm
from router.streams.consuming.consumer import Limits, StreamConsumer
from router.streams.delivery import Done, StreamRef
from router.streams.store.append import Appender
from tests.harness.deployment import count_unfinished
from tests.harness.redis_topologies import Cluster
from tests.streams.store.test_append import make_fields
from tests.support.waiting import scaled, until

ADD = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
NAMES = [f"router:{{{number}}}:x" for number in range(4)]


@pytest.fixture
async def cluster(tmp_path):
    """Three primaries with a replica each."""
    cluster = Cluster(tmp_path, replicas=1)
    try:
        await cluster.start()
        yield cluster
    finally:
        cluster.stop()


def inbound_streams(keys):
    return [keys.inbound(number) for number in range(keys.partitions)]


async def is_settled(redis, keys):
    return not await count_unfinished(redis, *inbound_streams(keys))


@asynccontextmanager
async def consuming(redis, cluster, keys, taken):
    """Consume the inbound streams of all partitions while the block runs."""

    async def attempt(delivery):
        taken.append(delivery.text("key"))
        return Done()

    consumer = StreamConsumer(
        redis=redis,
        url=cluster.url,
        keys=keys,
        streams=[StreamRef(number, name) for number, name in enumerate(inbound_streams(keys))],
        group="g",
        limits=Limits(retry_delay=0.1),
        attempt=attempt,
        subject=lambda delivery: delivery.entry_id,
    )
    async with consumer.running():
        yield


async def test_replicas_confirm_node_by_node_and_one_is_promoted(cluster, clients, keys):
    """A replica that hangs affects only events of its node; the replica of a crashed primary serves them."""
    redis = clients(cluster.url)
    owner = await cluster.node_of(NAMES[0])
    replica = cluster.replicas[cluster.nodes.index(owner)]
    subjects = {keys.partition_of(f"s{number}"): f"s{number}" for number in range(50)}
    assert len(subjects) == 4

    replica.stall()
    appender = Appender(redis, keys, replication=Replication(1, scaled(0.3)))
    calls = [appender.append(make_fields(f"k{number}", subject=subjects[number])) for number in range(4)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    away = [number for number in range(4) if await cluster.node_of(NAMES[number]) is owner]
    assert [number for number, result in enumerate(results) if isinstance(result, NotDurableError)] == away
    assert [results[number] for number in range(4) if number not in away] == [True] * (4 - len(away))
    replica.resume()

    patient = Replication(1, scaled(1.5))
    await run_all(redis, ADD, [([name], [1]) for name in NAMES], patient)
    await confirm(redis, NAMES[0], patient)
    taken = []
    async with consuming(redis, cluster, keys, taken):
        await until(lambda: sorted(taken) == ["k0", "k1", "k2", "k3"])
        await until(lambda: is_settled(redis, keys))
        await confirm(redis, NAMES[0], patient)  # else an acknowledgment dies with the primary, and k0 is taken again
        owner.kill()

        async def is_served():
            try:
                results = await run_all(redis, ADD, [([NAMES[0]], [1])])
            except RedisError:
                return None
            return None if isinstance(results[0], Exception) else results[0]

        assert await until(is_served) == 2
        for number, subject in subjects.items():
            assert await Appender(redis, keys).append(make_fields(f"late{number}", subject=subject))
        await until(lambda: len(taken) >= 8)
    assert sorted(taken[4:]) == ["late0", "late1", "late2", "late3"]
