"""Groups begin at 0, consumers have names of their own, heartbeats say who lives."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

import pytest
from redis.exceptions import OutOfMemoryError

from router.streams.client.connection import RedisError
from router.streams.consuming.groups import Heartbeat, ensure_group, name_consumer
from tests.support.waiting import until

pytestmark = pytest.mark.real


async def test_a_new_group_reads_what_was_there_before_it(redis, stream):
    """The backlog from before the first start belongs to the group."""
    await redis.xadd(stream.key, {"n": "1"})
    assert await ensure_group(redis, stream.key, "resolver") is True
    [[_, rows]] = await redis.xreadgroup("resolver", "me", {stream.key: ">"})
    assert [fields for _, fields in rows] == [{b"n": b"1"}]


async def test_a_group_that_is_there_keeps_its_position(redis, stream):
    """Ensuring it again is silent and False, and nothing is read twice."""
    assert await ensure_group(redis, stream.key, "resolver") is True
    await redis.xadd(stream.key, {"n": "1"})
    await redis.xreadgroup("resolver", "me", {stream.key: ">"})
    assert await ensure_group(redis, stream.key, "resolver") is False
    assert not await redis.xreadgroup("resolver", "me", {stream.key: ">"})


async def test_another_error_is_not_silent(redis, stream):
    """A key that is no stream is an error of the start, not a group that exists."""
    await redis.set(stream.key, "no stream", px=60_000)
    with pytest.raises(RedisError, match="WRONGTYPE"):
        await ensure_group(redis, stream.key, "resolver")


def test_names_of_consumers_are_never_equal():
    """Host, process and start, and even two of one process in one millisecond differ."""
    names = [name_consumer() for _ in range(1_000)]
    assert len(set(names)) == 1_000
    assert f"-{os.getpid()}-" in names[0]


async def test_a_heartbeat_is_there_from_the_beginning_lives_on_and_ends_with_its_consumer(redis):
    """It beats before anything is read, outlives its own TTL by being renewed, and is deleted on leaving."""
    beats = ["{0}:heartbeat:a", "{0}:heartbeat:b"]
    async with Heartbeat(redis, beats, ttl=0.4):
        assert await redis.exists(*beats) == 2
        await redis.pexpire(beats[0], 60_000)
        await until(lambda: _is_below(redis, beats[0], 400))
        assert 0 < await redis.pttl(beats[1]) <= 400
    assert await redis.exists(*beats) == 0


async def test_a_heartbeat_goes_on_where_redis_is_out_of_memory(own_server, clients, lines):
    """A full Redis refuses new keys; those who lived before it was full go on living."""
    redis = clients(own_server.url)
    async with Heartbeat(redis, ["a", "b"], ttl=0.4) as heartbeat:
        await redis.config_set("maxmemory", "1")
        with pytest.raises(OutOfMemoryError):
            await redis.set("c", "1")
        await redis.pexpire("a", 60_000)
        await until(lambda: _is_below(redis, "a", 400))
        await heartbeat.beat()
        assert 0 < await redis.pttl("b") <= 400
        await redis.delete("b")
        with pytest.raises(OutOfMemoryError):
            await heartbeat.beat()
        await redis.config_set("maxmemory", "0")
        await until(lambda: redis.exists("b"))


async def _is_below(redis, key, limit):
    return await redis.pttl(key) <= limit


async def test_without_redis_a_consumer_does_not_begin(clients):
    """A first beat that fails stops the start: nothing may be read by a consumer that looks dead."""
    with pytest.raises(RedisError):
        async with Heartbeat(clients("redis://127.0.0.1:1/0"), ["k"], ttl=1):
            pytest.fail("it began")


async def test_a_failed_beat_is_logged_and_the_next_one_comes(own_server, clients, lines):
    """An outage of Redis does not end the heartbeat: it is back with the server, and leaving stays quiet."""
    redis = clients(own_server.url, timeout=0.2)
    async with Heartbeat(redis, ["beat"], ttl=0.4):
        own_server.kill()
        await until(lambda: any(line["event"] == "heartbeat.failed" for line in lines))
        await own_server.start()
        await until(lambda: redis.exists("beat"))
        own_server.kill()


async def test_a_heartbeat_ends_although_a_cancellation_gets_lost(redis, monkeypatch):
    """Leaving does not wait for ever for a task whose cancellation was swallowed by a command."""
    heartbeat = Heartbeat(redis, ["{0}:beat"], ttl=0.04)
    beats = []

    async def swallow_once(*_):
        beats.append(1)
        if len(beats) == 2:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    monkeypatch.setattr(heartbeat, "beat", swallow_once)
    begun = time.monotonic()
    async with heartbeat:
        await until(lambda: len(beats) == 2)
    assert all(task.done() for task in heartbeat._tasks)
    assert time.monotonic() - begun < 5
