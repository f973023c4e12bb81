"""Which streams are taken care of together, and what becomes of all when one of them fails."""

from __future__ import annotations

import asyncio

import pytest

from router.streams.consuming.groups import ensure_group
from router.streams.consuming.reading import Reading, part_streams
from router.streams.delivery import StreamRef

STREAMS = [StreamRef(number, f"router:{{{number}}}:inbound") for number in range(3)]


@pytest.mark.parametrize("url", ["redis://h", "redis+sentinel://h/s"])
def test_one_primary_is_read_as_a_whole(url):
    """What happens to one of its connections happens to all."""
    assert part_streams(url, STREAMS) == [STREAMS]


def test_streams_of_a_cluster_are_read_each_by_itself():
    """They may lie on different nodes, now or tomorrow."""
    assert part_streams("redis+cluster://h", STREAMS) == [[stream] for stream in STREAMS]


class FakeReader:
    """Reads as long as its test wants it to."""

    def __init__(self, streams):
        self.streams, self.is_running = streams, False

    async def start(self):
        self.is_running = True

    async def stop(self):
        self.is_running = False


async def test_one_part_that_is_lost_for_good_is_told_and_the_others_read_on(redis):
    """Something else lies at a stream's key: whoever waits for that hears of it."""
    readers = {}

    def make_reader(part):
        readers[part[0].partition] = FakeReader(part)
        return readers[part[0].partition]

    reading = Reading(
        redis,
        [[stream] for stream in STREAMS],
        group="g",
        consumer="me",
        pause=0.01,
        make_reader=make_reader,
    )
    await reading.start()
    assert all(reader.is_running for reader in readers.values())
    running, failed = asyncio.create_task(reading.run()), asyncio.create_task(reading.failed())
    await redis.delete(STREAMS[1].key)
    await redis.set(STREAMS[1].key, "text", ex=60)
    readers[1].is_running = False
    async with asyncio.timeout(10):
        await failed
    assert [readers[number].is_running for number in range(3)] == [True, False, True]
    running.cancel()
    await asyncio.wait([running])
    await reading.stop()
    assert not any(reader.is_running for reader in readers.values())
    assert not await ensure_group(redis, STREAMS[0].key, "g")
