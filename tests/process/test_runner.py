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
    """Restore the signal handlers after the test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Consumer:
    """Fails with `failure`; without one it sends SIGTERM to this process as soon as it is awaited."""

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


async def test_a_signal_ends_the_process_with_status_0(lines):
    """Start and stop are logged, the start with the details of the caller and the settings."""
    assert await run_consumer(consuming(Consumer()), Settings(), handler="ai_agent") == 0
    assert [line["event"] for line in lines()] == ["process.started", "process.stopped"]
    assert (lines()[0]["consumer"], lines()[0]["handler"]) == ("made-up.1", "ai_agent")
    assert "ROUTER_MAX_BODY_BYTES" in lines()[0]["settings"]


async def test_a_consumer_that_fails_ends_the_process_with_status_1(lines):
    """The logged reason is the consumer's."""
    assert await run_consumer(consuming(Consumer("it is broken")), Settings()) == 1
    assert [line["event"] for line in lines()] == ["process.started", "process.failed"]
    assert (lines()[1]["reason"], lines()[1]["level"]) == ("it is broken", "error")


async def test_a_redis_failure_during_the_start_ends_the_process_with_status_1(lines):
    """The reason is logged, and there is no traceback."""
    assert await run_consumer(stalled(), Settings()) == 1
    assert [(line["event"], line["reason"]) for line in lines()] == [
        ("process.failed", "Redis: RedisError: Timeout reading")
    ]
