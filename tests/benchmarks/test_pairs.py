"""What lies between a receiver and its worker is counted alike: everything added, and everything that is not done."""

from __future__ import annotations

import pytest

from tests.benchmarks.filled_stream import Stream
from tests.benchmarks.pairs import BULL, BullBetween, StreamBetween

pytestmark = pytest.mark.real


async def test_an_entry_is_done_once_it_is_acknowledged(redis):
    """Trimming deletes what is done, and does not change what was ever added."""
    stream = Stream(redis, "straightforward", "baseline")
    await stream.create()
    between = StreamBetween(stream)
    added = [await redis.xadd(stream.name, {"Body": "Hello"}) for _ in range(3)]
    assert (await between.added(), await between.unfinished()) == (3, 3)
    await redis.xreadgroup(stream.group, "one", {stream.name: ">"}, count=2)
    await redis.xack(stream.name, stream.group, added[0])
    assert await between.unfinished() == 2
    await redis.xreadgroup(stream.group, "one", {stream.name: ">"})
    await redis.xack(stream.name, stream.group, *added)
    await between.empty()
    assert (await between.added(), await between.unfinished(), await redis.xlen(stream.name)) == (3, 0, 0)
    await redis.delete(stream.name)


async def test_a_job_is_done_once_it_is_in_no_list_of_the_queue(redis):
    """Jobs that wait, are active, delayed or failed are not; the counter of ids tells how many there ever were."""
    between = BullBetween(redis)
    assert (await between.added(), await between.unfinished()) == (0, 0)
    await redis.set(f"{BULL}:id", 9, ex=60)
    for name in ("wait", "active"):
        await redis.rpush(f"{BULL}:{name}", "1", "2")
        await redis.expire(f"{BULL}:{name}", 60)
    for name in ("delayed", "failed"):
        await redis.zadd(f"{BULL}:{name}", {"3": 1})
        await redis.expire(f"{BULL}:{name}", 60)
    assert (await between.added(), await between.unfinished()) == (9, 6)
