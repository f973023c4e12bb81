"""The console on a Cluster: sessions, limits, the audit stream, jobs, samples and the news of all partitions."""

from __future__ import annotations

import asyncio

import pytest

from router.console.hub import Hub, StreamKind, running
from router.console.samples import StreamSamples
from router.streams.store.audit import AuditLog
from router.streams.store.jobs import Job, JobState, JobStore
from router.streams.store.overview import read_newest
from router.streams.store.sign_ins import FREE_BY_USER, SignIns
from tests.support.waiting import deadline, until


@pytest.fixture
async def redis(cluster, clients):
    """A client of an empty Cluster."""
    for node in cluster.nodes:
        await node.ask("FLUSHALL")
    return clients(cluster.url)


async def test_signing_in(redis, keys):
    """Sessions, links and limits on guessing are in one slot, as their commands and scripts need it."""
    sign_ins = SignIns(redis, keys)
    secret = await sign_ins.secret()
    assert await sign_ins.secret() == secret
    await sign_ins.open("session", b"content", 60)
    stored = await sign_ins.use("session", 60)
    assert (stored.secret, stored.content) == (secret, b"content")
    await sign_ins.close("session")
    assert (await sign_ins.use("session", None)).content is None
    await sign_ins.add_link("token", "ann", "mark", 60)
    assert [await sign_ins.take_link("token") for _ in range(2)] == [("ann", "mark"), None]
    waits = [await sign_ins.attempt("192.0.2.1", "ann") for _ in range(FREE_BY_USER + 2)]
    assert [wait > 0 for wait in waits] == [False] * (FREE_BY_USER + 1) + [True]
    await sign_ins.succeeded("192.0.2.1", "ann")
    assert await sign_ins.attempt("192.0.2.2", "ann") == 0


async def test_audit(redis, keys):
    """The stream is written and read."""
    log = AuditLog(redis, keys)
    await log.note("ann", "operator", "replay")
    assert [one.who for one in await log.read()] == ["ann"]


async def test_news_of_all_partitions(redis, keys):
    """One pipeline reads each partition from its node."""
    hub = Hub(redis, keys)
    async with running(hub), hub.subscribe() as subscription:
        await until(lambda: hub._position)
        streams = [keys.commands(partition) for partition in range(keys.partitions)]
        await asyncio.gather(*(redis.xadd(stream, {"id": "x"}) for stream in streams))
        async with deadline(20):
            news = [await subscription.get() for _ in streams]
        assert {one.stream for one in news} == set(streams)
        assert {one.kind for one in news} == {StreamKind.COMMANDS}


async def test_jobs(redis, keys):
    """The list, a job and its sign of life are in one slot, as their transactions need it."""
    store = JobStore(redis, keys)
    await store.begin(Job("j1", "dead-letters.drop", "olu", {}, 1))
    assert await store.ask_to_stop("j1")
    assert await store.note(Job("j1", "dead-letters.drop", "olu", {}, 1, seen=2))
    assert [(job.seen, job.state) for job in await store.newest()] == [(2, JobState.RUNNING)]


async def test_samples_and_the_newest_entries_of_all_partitions(redis, keys):
    """One pipeline reads each stream from its node."""
    samples = StreamSamples(redis, keys, clock=iter([1_000_000, 2_000_000]).__next__)
    await samples.take()
    streams = [keys.commands(partition) for partition in range(keys.partitions)]
    await asyncio.gather(*(redis.xadd(stream, {"id": "x"}) for stream in streams))
    await samples.take()
    rates = {one["kind"]: one["rate"] for one in samples.columns()["streams"]}
    assert (rates["commands"], rates["inbound"]) == ([float(len(streams))], [0.0])
    newest = await read_newest(redis, [*streams, keys.inbound(0)], 5)
    assert [[fields for _, fields in rows] for rows in newest] == [[{b"id": b"x"}]] * len(streams) + [[]]
