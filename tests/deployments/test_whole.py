"""All processes of the project behind Sentinels and on a Cluster: the walk-through, then an outage.

Promises 1, 2 and 4 while the primary crashes under load, and while a node of the Cluster does.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from router.streams.client.connection import RedisError, connect
from tests import test_walkthrough as tour
from tests.deployments.traffic import GREETING, Traffic, deployment_of
from tests.harness.dev import running_dev
from tests.harness.redis_topologies import Cluster, Sentinels, running
from tests.support.waiting import scaled, until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240), pytest.mark.promise(1), pytest.mark.promise(2)]

#: Four partitions are spread over all three nodes of a Cluster; a primary has all of them.
SETTINGS = {"ROUTER_PARTITIONS": "4", "ROUTER_RETRY_DELAY": "0.2"}
STEPS = (
    tour.test_a_signed_webhook_becomes_one_participant_and_one_entry,
    tour.test_two_hundred_copies_of_a_webhook_make_one_participant,
    tour.test_callbacks_of_our_own_participants_make_no_entry,
    tour.test_nothing_is_sent_to_a_customer_unless_configured,
)


@pytest.fixture
def sentinels(tmp_path):
    """A primary, a replica and three Sentinels of this test's own."""
    with running(Sentinels(tmp_path / "redis")) as sentinels:
        yield sentinels


@pytest.fixture
def cluster(tmp_path):
    """A Cluster of this test's own."""
    with running(Cluster(tmp_path / "redis")) as cluster:
        yield cluster


@pytest.fixture
def start_dev(tmp_path):
    """Return a function that runs `dev` on a Redis URL with further settings, and gives dev.env."""
    (tmp_path / "state").mkdir()
    return lambda url, **more: running_dev(tmp_path / "state", "--redis-url", url, **SETTINGS, **more)


@asynccontextmanager
async def deployed(dev):
    """Give the deployment of a running `dev`."""
    redis = connect(dev["REDIS_URL"], timeout=scaled(20))
    try:
        async with deployment_of(dev, redis) as deployment:
            yield deployment
    finally:
        await redis.aclose()


async def walk_through(dev, deployment):
    """Do every step of the walk-through, as on one server."""
    for step in STEPS:
        await step(dev, deployment.redis)
    await tour.test_health_and_metrics_are_served(dev)


@asynccontextmanager
async def flowing(traffic):
    """Let customers write while the block runs; afterwards wait until everything is processed."""
    running = asyncio.create_task(traffic.run())
    try:
        await until(lambda: len(traffic.sent) >= 100, timeout=60)
        yield
    finally:
        traffic.is_over.set()
        await running

    async def is_settled():
        try:
            return await traffic.is_settled()
        except (RedisError, OSError):
            return False

    await until(is_settled, timeout=90)


async def assert_nothing_is_lost_or_doubled(traffic):
    """Each webhook was answered 200 and is published once; each customer is announced once and in the API once."""
    assert set(traffic.statuses) == {200}
    joined, messages = await traffic.published()
    assert messages == dict.fromkeys(traffic.sent, 1)
    assert {address for _, address in joined} == {customer for customer, _ in traffic.sent.values()}
    assert set(joined.values()) == {1}
    customers, greetings = await traffic.in_the_api()
    assert customers == joined
    assert max(greetings.values()) <= 1, "a greeting was sent twice"
    assert await traffic.deployment.count_dead_letters() == 0


def events_of(tmp_path, process):
    """Return the events in the log of one of dev's processes."""
    text = (tmp_path / "state" / "log" / f"{process}.log").read_text()
    return [json.loads(line)["event"] for line in text.splitlines() if line.startswith("{")]


def test_a_primary_that_crashes_under_load_costs_nothing(sentinels, start_dev, tmp_path):
    """Sentinels fail over while customers write and a replica must confirm: nothing is lost, nothing doubled."""
    with start_dev(sentinels.url, ROUTER_REDIS_WAIT="1", ROUTER_AI_AGENT_GREETING=GREETING) as dev:
        asyncio.run(fail_over(dev, sentinels))
    assert "spool.begun" in events_of(tmp_path, "web")
    assert "spool.drained" in events_of(tmp_path, "web")


async def fail_over(dev, sentinels):
    """Kill the primary, and start it again as the replica that must confirm."""
    async with deployed(dev) as deployment:
        traffic = Traffic(dev, deployment)
        async with flowing(traffic):
            sentinels.primary.kill()
            await until(sentinels.has_failed_over)
            before = len(traffic.sent)
            await until(lambda: len(traffic.sent) >= before + 100, timeout=60)
            await sentinels.primary.start()
            await sentinels.demote()
        await assert_nothing_is_lost_or_doubled(traffic)


def test_walk_through_behind_sentinels(sentinels, start_dev):
    """Webhook to entry, repeats, our own additions, silence, metrics."""
    with start_dev(sentinels.url, ROUTER_REDIS_WAIT="1") as dev:
        asyncio.run(walk(dev))


async def walk(dev):
    async with deployed(dev) as deployment:
        await walk_through(dev, deployment)


def test_walk_through_on_a_cluster_and_a_node_that_crashes_under_load(cluster, start_dev):
    """While it is down the other partitions are processed; when it is back nothing is lost, and nothing doubled."""
    with start_dev(cluster.url) as dev:
        asyncio.run(lose_a_node(dev, cluster))


async def lose_a_node(dev, cluster):
    """Walk through; then kill the node of the last partition, and start it again once the others made progress."""
    async with deployed(dev) as deployment:
        traffic, keys = Traffic(dev, deployment, customers=10_000), deployment.keys
        await walk_through(dev, deployment)
        owner = await cluster.node_of(keys.inbound(3))
        assert owner is not await cluster.node_of(keys.inbound(0))
        living = [one for one in range(4) if await cluster.node_of(keys.inbound(one)) is not owner]
        async with flowing(traffic):
            owner.kill()
            known = await joined_in(deployment, living)

            async def have_others_made_progress():
                return len(await joined_in(deployment, living) - known) >= 20

            await until(have_others_made_progress, timeout=60)
            await cluster.revive(owner)
        await assert_nothing_is_lost_or_doubled(traffic)


async def joined_in(deployment, partitions):
    """Return the ids of the participant.joined entries of some partitions."""
    return {
        fields[b"id"]
        for partition in partitions
        for _, fields in await deployment.redis.xrange(deployment.keys.participants(partition, "ai-agent"))
        if fields[b"type"] == b"participant.joined"
    }
