"""The run of a consumer as a process, for worker and handlers alike: exit status, log lines, metrics port."""

import asyncio
import os
import signal
import urllib.error
import urllib.request
from contextlib import asynccontextmanager

import pytest

from router.process.runner import metrics_port, run_consumer
from router.settings.model import Settings
from router.streams.client.connection import RedisError
from router.streams.client.embedded import free_port, is_free
from tests.support.waiting import scaled


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


async def test_a_signal_ends_the_process_with_status_0(signals, lines):
    """Start and stop are logged, the start with the details of the caller and the settings."""
    assert await run_consumer(consuming(Consumer()), Settings(), handler="ai_agent") == 0
    assert [line["event"] for line in lines()] == ["process.started", "process.stopped"]
    assert (lines()[0]["consumer"], lines()[0]["handler"]) == ("made-up.1", "ai_agent")
    assert "ROUTER_MAX_BODY_BYTES" in lines()[0]["settings"]


async def test_a_consumer_that_fails_ends_the_process_with_status_1(signals, lines):
    """The logged reason is the consumer's."""
    assert await run_consumer(consuming(Consumer("it is broken")), Settings()) == 1
    assert [line["event"] for line in lines()] == ["process.started", "process.failed"]
    assert (lines()[1]["reason"], lines()[1]["level"]) == ("it is broken", "error")


async def test_a_redis_failure_during_the_start_ends_the_process_with_status_1(signals, lines):
    """The reason is logged, and there is no traceback."""
    assert await run_consumer(stalled(), Settings()) == 1
    assert [(line["event"], line["reason"]) for line in lines()] == [
        ("process.failed", "Redis: RedisError: Timeout reading")
    ]


def fetch(url):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=scaled(10)) as answer:
        return answer.status, answer.read()


@pytest.mark.parametrize("path", ["/metrics", "/healthz"])
async def test_metrics_are_served_while_the_block_runs(path):
    """Both paths answer; afterwards the port is free again."""
    port = free_port()
    async with metrics_port(Settings(metrics_port=port, host="127.0.0.1")):
        status, body = await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}{path}")
        assert status == 200
        assert b"router_events" in body
    assert is_free(port)
    with pytest.raises(urllib.error.URLError):
        await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}/metrics")


async def test_port_0_serves_nothing():
    """0 disables the metrics port."""
    async with metrics_port(Settings()):
        pass
