"""The run of a consumer as a process: exit status and log lines, for worker and handlers alike."""

import asyncio
import io
import os
import signal
from contextlib import asynccontextmanager

import orjson
import pytest

from router import logs
from router.process.runner import run_consumer
from router.settings.model import Settings
from router.streams.client.connection import RedisError


@pytest.fixture
def lines(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(logs._Output, "stream", stream)
    monkeypatch.setattr(logs._Output, "is_json", True)
    return lambda: [orjson.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture(autouse=True)
def handlers():
    """Put the signals back as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Consumer:
    """Fails with `failure`; without one it sends this process a SIGTERM, as soon as it is waited for."""

    name = "made-up.1"

    def __init__(self, failure=""):
        self.failure = failure

    async def failed(self):
        if not self.failure:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()
        return self.failure


@asynccontextmanager
async def consuming(consumer):
    yield consumer


@asynccontextmanager
async def stalled():
    raise RedisError("Timeout reading")
    yield


async def test_a_signal_ends_it_with_status_0(lines):
    """It says when it is up, with what the caller adds, and when it has stopped."""
    assert await run_consumer(consuming(Consumer()), Settings(), handler="ai_agent") == 0
    assert [line["event"] for line in lines()] == ["process.started", "process.stopped"]
    assert (lines()[0]["consumer"], lines()[0]["handler"]) == ("made-up.1", "ai_agent")
    assert "ROUTER_MAX_BODY_BYTES" in lines()[0]["settings"]


async def test_a_consumer_that_fails_ends_it_with_status_1(lines):
    """The reason is the consumer's own."""
    assert await run_consumer(consuming(Consumer("it is broken")), Settings()) == 1
    assert [line["event"] for line in lines()] == ["process.started", "process.failed"]
    assert (lines()[1]["reason"], lines()[1]["level"]) == ("it is broken", "error")


async def test_redis_that_fails_during_the_start_ends_it_with_status_1(lines):
    """A supervisor gets the status and a person the reason, without a traceback."""
    assert await run_consumer(stalled(), Settings()) == 1
    assert [(line["event"], line["reason"]) for line in lines()] == [
        ("process.failed", "Redis: RedisError: Timeout reading")
    ]
