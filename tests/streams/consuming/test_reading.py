"""Reading in parts: one part that fails for good is reported, and the others go on."""

from __future__ import annotations

import asyncio

import pytest

from router.core.keys import Keys
from router.streams.consuming.reading import Reading
from router.streams.delivery import StreamRef
from router.tasks import end
from tests.support.waiting import deadline, until

pytestmark = pytest.mark.real


async def test_a_part_that_fails_for_good_is_reported_and_the_others_read_on(redis, redis_url):
    """A key of another type in place of one stream ends that part's reading; the other parts keep delivering."""
    keys = Keys(partitions=3)
    streams = [StreamRef(number, keys.inbound(number)) for number in range(3)]
    taken = []

    async def take(deliveries):
        taken.extend(delivery.stream.partition for delivery in deliveries)

    parts = [[stream] for stream in streams]
    reading = Reading(redis, redis_url, parts, group="g", consumer="me", batch=10, pause=0.01, take=take)
    await reading.start()
    running, failed = asyncio.create_task(reading.run()), asyncio.create_task(reading.failed())
    pipeline = redis.pipeline(transaction=True)
    pipeline.delete(streams[1].key)
    pipeline.set(streams[1].key, "text", ex=60)
    await pipeline.execute()
    async with deadline(10):
        await failed
    for stream in (streams[0], streams[2]):
        await redis.xadd(stream.key, {"n": 1})
    await until(lambda: sorted(taken) == [0, 2])
    await end(running)
    await reading.stop()
