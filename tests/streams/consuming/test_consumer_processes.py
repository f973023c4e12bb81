"""Consumers as real processes: killed or told to stop in the middle, with nothing lost and nothing undone."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from tests.harness.processes import start_process
from tests.streams.consumer_program import ATTEMPTS, EFFECTS, GROUP
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.processes]

ENTRIES = 200
TTL = 1.0


@pytest.fixture
async def start(tmp_path, redis_url, redis):
    """Start consumer processes; all are killed and their effects removed at the end."""
    running = []

    async def start_one(delay=0.0, grace=5.0, stuck_from=ENTRIES):
        arguments = [str(one) for one in (stuck_from, delay, grace, TTL)]
        process = await start_process(tmp_path, "tests.streams.consumer_program", redis_url, *arguments)
        running.append(process)
        await process.started()
        return process

    yield start_one
    for process in running:
        await process.kill()
    await redis.delete(EFFECTS, ATTEMPTS)


@pytest.fixture
async def ids(redis, stream):
    """200 entries that wait for consumers."""
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


async def all_done(redis, stream):
    [group] = await redis.xinfo_groups(stream.key)
    return group["lag"] == 0 and group["pending"] == 0


async def test_a_killed_consumers_entries_are_taken_over_and_all_are_done(start, redis, stream, ids):
    """After kill -9 another is done with what was left within two heartbeats, and nothing settled is repeated."""
    doomed = await start(stuck_from=ENTRIES // 4)
    await until(lambda: _has_effects(redis, ENTRIES // 4))
    survivor = await start(delay=0.01)
    await until(lambda: _is_read(redis, stream))
    name = doomed.find("process.started")[0]["consumer"]
    await until(lambda: _is_pending_for(redis, stream, {name}))
    left = (await pending_of(redis, stream))[name]
    await doomed.kill()
    killed_at = time.monotonic()
    await until(lambda: all_done(redis, stream))
    assert time.monotonic() - killed_at < 2 * TTL + 1
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
    return set(await pending_of(redis, stream)) == consumers


async def test_a_consumer_that_is_told_to_stop_ends_cleanly_and_a_survivor_goes_on_at_once(start, redis, stream, ids):
    """SIGTERM under load: exit 0, what runs is finished, the rest is handed back and done by the other one."""
    stopping = await start(delay=0.05)
    await until(lambda: _has_effects(redis, 20))
    survivor = await start(delay=0.01)
    assert await stopping.stop(signal.SIGTERM) == 0
    stopped_at = time.monotonic()
    assert [line["handed_back"] for line in stopping.find("process.stopping")] == [0]
    await until(lambda: all_done(redis, stream))
    assert time.monotonic() - stopped_at < 2 * TTL + 1
    assert await redis.scard(EFFECTS) == ENTRIES
    assert {int(count) for count in await redis.hvals(ATTEMPTS)} == {1}
    assert await survivor.stop() == 0
    assert await redis.xinfo_consumers(stream.key, GROUP) == []


async def test_what_does_not_finish_within_the_grace_is_handed_back(start, redis, stream, ids):
    """Entries that take too long are cut off: still exit 0, and a survivor does them."""
    stopping = await start(grace=0.2, stuck_from=0)
    await until(lambda: _is_attempted(redis, 20))
    assert await stopping.stop(signal.SIGTERM, limit=5) == 0
    assert stopping.find("process.stopping")[0]["handed_back"] >= 20
    assert len((await pending_of(redis, stream)).popitem()[1]) >= 20
    await start()
    await until(lambda: all_done(redis, stream))
    assert await redis.scard(EFFECTS) == ENTRIES


async def _is_attempted(redis, count):
    return await redis.hlen(ATTEMPTS) >= count


async def test_several_consumers_share_the_work(start, redis, stream, ids):
    """Two processes of a group do each entry once between them."""
    await asyncio.gather(start(delay=0.02), start(delay=0.02))
    await until(lambda: all_done(redis, stream))
    assert await redis.scard(EFFECTS) == ENTRIES
    assert {int(count) for count in await redis.hvals(ATTEMPTS)} == {1}


async def test_a_process_whose_stream_is_another_type_ends_with_a_status_that_is_not_zero(start, redis, stream):
    """It says what is wrong and leaves the rest to whoever runs it; the key is not touched."""
    process = await start()
    await redis.delete(stream.key)
    await redis.set(stream.key, "no stream", ex=60)
    async with asyncio.timeout(20):
        assert await process.wait() == 1
    [line] = process.find("reading.failed")
    assert "WRONGTYPE" in line["reason"]
    assert await redis.get(stream.key) == b"no stream"
