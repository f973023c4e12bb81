"""Fixtures of the stream tests: keys, the stream that most of them use, and consumers for it."""

from __future__ import annotations

import pytest

from router.core.keys import Keys
from router.streams.delivery import StreamRef
from tests.harness.processes import start_process
from tests.streams.bench import Bench
from tests.streams.consumer_program import ATTEMPTS, EFFECTS
from tests.support.waiting import scaled


@pytest.fixture
def keys():
    return Keys()


@pytest.fixture
def stream(keys):
    """The inbound stream of partition 0."""
    return StreamRef(0, keys.inbound(0))


@pytest.fixture
def bench(redis, redis_url, keys, stream):
    return Bench(redis, redis_url, keys, stream)


@pytest.fixture
async def start_consumer(tmp_path, redis_url, redis):
    """Start consumer processes (tests/streams/consumer_program.py); all are killed and their effects removed."""
    running = []

    async def start(*, stuck_from=1_000, delay=0.0, grace=5.0, ttl=1.0):
        arguments = map(str, (stuck_from, delay, scaled(grace), scaled(ttl)))
        process = await start_process(tmp_path, "tests.streams.consumer_program", redis_url, *arguments)
        running.append(process)
        return process

    yield start
    for process in running:
        await process.kill()
    await redis.delete(EFFECTS, ATTEMPTS)
