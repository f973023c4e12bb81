"""Consumers as real processes, killed or stopped in the middle: no entry is lost, none that is settled is repeated."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from router.streams.consuming.lanes import FIRST
from tests.harness.deployment import count_parked
from tests.streams.bench import is_settled
from tests.streams.consumer_program import ATTEMPTS, EFFECTS, GROUP
from tests.support.waiting import scaled, until

pytestmark = [pytest.mark.real, pytest.mark.processes]

ENTRIES = 200


@pytest.fixture
async def ids(redis, stream):
    """The ids of 200 entries that wait for consumers."""
    pipeline = redis.pipeline(transaction=False)
    for number in range(ENTRIES):
        pipeline.xadd(stream.key, {"n": number})
    return [entry_id.decode() for entry_id in await pipeline.execute()]


async def pending_of(redis, stream):
    """Return the pending entries by consumer."""
    found = {}
    for row in await redis.xpending_range(stream.key, GROUP, "-", "+", 10_000):
        found.setdefault(row["consumer"].decode(), []).append(row["message_id"].decode())
    return found


async def test_entries_of_a_killed_consumer_are_claimed_and_done(start_consumer, redis, stream, ids):
    """After kill -9 another one has done the rest within two heartbeats, and nothing that was settled is repeated."""
    ttl = 1.0
    doomed = await start_consumer(stuck_from=ENTRIES // 4, ttl=ttl)
    await until(lambda: _has_effects(redis, ENTRIES // 4))
    survivor = await start_consumer(delay=0.01)
    await until(lambda: _is_read(redis, stream))
    [started] = await doomed.started()
    name = started["consumer"]
    await until(lambda: _is_pending_for(redis, stream, {name}))
    left = (await pending_of(redis, stream))[name]
    await doomed.kill()
    killed_at = time.monotonic()
    await until(lambda: is_settled(redis, stream))
    assert time.monotonic() - killed_at < scaled(2 * ttl + 1)
    assert await redis.scard(EFFECTS) == ENTRIES
    attempts = {name.decode(): int(count) for name, count in (await redis.hgetall(ATTEMPTS)).items()}
    assert set(attempts) == set(ids)
    assert {name for name, count in attempts.items() if count > 1} <= set(left)
    assert set(attempts.values()) <= {1, 2}
    assert sum(line["entries"] for line in survivor.find("claimed")) == len(left)


async def _has_effects(redis, least):
    return await redis.scard(EFFECTS) >= least


async def _is_read(redis, stream):
    return (await redis.xinfo_groups(stream.key))[0]["lag"] == 0


async def _is_pending_for(redis, stream, consumers):
    """Tell whether all that is left is pending for these: a parked entry may be brought back by anybody at any time."""
    return not await count_parked(redis, stream.key, GROUP) and set(await pending_of(redis, stream)) == consumers


async def test_a_stopped_consumer_ends_cleanly_and_a_survivor_goes_on_at_once(start_consumer, redis, stream, ids):
    """SIGTERM under load: exit 0, running attempts finish, and the other consumer does the rest."""
    ttl = 1.0
    stopping = await start_consumer(delay=0.05, ttl=ttl)
    await until(lambda: _has_effects(redis, 20))
    survivor = await start_consumer(delay=0.01)
    assert await stopping.stop(signal.SIGTERM) == 0
    stopped_at = time.monotonic()
    assert [line["handed_back"] for line in stopping.find("process.stopping")] == [0]
    await until(lambda: is_settled(redis, stream))
    assert time.monotonic() - stopped_at < scaled(2 * ttl + 1)
    assert await redis.scard(EFFECTS) == ENTRIES
    assert {int(count) for count in await redis.hvals(ATTEMPTS)} == {1}
    assert await survivor.stop() == 0
    assert await redis.xinfo_consumers(stream.key, GROUP) == []


async def test_entries_that_exceed_the_grace_are_handed_back(start_consumer, redis, stream, ids):
    """Their attempts are cut off: still exit 0, and a survivor does them."""
    stopping = await start_consumer(grace=0.2, stuck_from=0)
    await until(lambda: _is_attempted(redis, FIRST))
    assert await stopping.stop(signal.SIGTERM, limit=5) == 0
    assert stopping.find("process.stopping")[0]["handed_back"] >= FIRST
    assert len((await pending_of(redis, stream)).popitem()[1]) >= FIRST
    await start_consumer()
    await until(lambda: is_settled(redis, stream))
    assert await redis.scard(EFFECTS) == ENTRIES


async def _is_attempted(redis, count):
    return await redis.hlen(ATTEMPTS) >= count


async def test_several_consumers_share_the_work(start_consumer, redis, stream, ids):
    """Two processes of a group do each entry once between them."""
    await asyncio.gather(start_consumer(delay=0.02), start_consumer(delay=0.02))
    await until(lambda: is_settled(redis, stream))
    assert await redis.scard(EFFECTS) == ENTRIES
    assert {int(count) for count in await redis.hvals(ATTEMPTS)} == {1}


async def test_a_process_whose_stream_has_another_type_ends_with_status_1(start_consumer, redis, stream):
    """It logs the reason for the operator and leaves the key alone."""
    process = await start_consumer()
    await process.started()
    await redis.delete(stream.key)
    await redis.set(stream.key, "no stream", ex=60)
    assert await process.wait(20) == 1
    [line] = process.find("reading.failed")
    assert "WRONGTYPE" in line["reason"]
    assert await redis.get(stream.key) == b"no stream"
