"""The run of a consumer as a process, for worker and handlers alike: exit status, log lines, metrics port."""

import asyncio
import json
import os
import signal
import socket
import urllib.error
import urllib.request
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import AuthenticationError, BusyLoadingError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from router.process import runner
from router.process.metrics_port import metrics_port
from router.process.runner import run_consumer
from router.settings.model import Settings
from router.streams.client.connection import RedisError
from router.streams.client.embedded import free_port, is_free
from tests.support.waiting import scaled


class Consumer:
    """Fails with `failure`; without one it sends SIGTERM to this process as soon as it is awaited."""

    name = "made-up.1"
    liveness = None

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
    assert await run_consumer(lambda: consuming(Consumer()), Settings(), handler="ai_agent") == 0
    assert [line["event"] for line in lines()] == ["process.started", "process.stopped"]
    assert (lines()[0]["consumer"], lines()[0]["handler"]) == ("made-up.1", "ai_agent")
    assert "ROUTER_MAX_BODY_BYTES" in lines()[0]["settings"]


async def test_a_consumer_that_fails_ends_the_process_with_status_1(signals, lines):
    """The logged reason is the consumer's."""
    assert await run_consumer(lambda: consuming(Consumer("it is broken")), Settings()) == 1
    assert [line["event"] for line in lines()] == ["process.started", "process.failed"]
    assert (lines()[1]["reason"], lines()[1]["level"]) == ("it is broken", "error")


class Starting:
    """A consumer whose start fails with these errors, one after the other; without any it gets SIGTERM."""

    def __init__(self, *errors):
        self.errors, self.begun = [*errors], 0

    @asynccontextmanager
    async def __call__(self):
        self.begun += 1
        if self.errors:
            raise self.errors.pop(0)
        yield Consumer()


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("Error 111 connecting to 127.0.0.1:1."),
        RedisTimeoutError("Timeout reading"),
        BusyLoadingError("Redis is loading the dataset in memory"),
        ReadOnlyError("You can't write against a read only replica."),
        TimeoutError(),
        ConnectionResetError(104, "Connection reset by peer"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_outage_of_redis_during_the_start_is_waited_for(signals, lines, monkeypatch, error):
    """However long it lasts it is logged once, and then the process starts."""
    monkeypatch.setattr(runner, "FIRST_PAUSE", 0.0)
    starting = Starting(*[error] * 3)
    assert await run_consumer(starting, Settings()) == 0
    assert starting.begun == 4
    assert [line["event"] for line in lines()] == ["start.waiting", "process.started", "process.stopped"]
    assert lines("start.waiting")[0]["reason"].startswith(type(error).__name__)


async def test_a_process_that_waits_for_redis_stops_at_once(signals, lines):
    """SIGTERM ends it with status 0, also while an attempt to start hangs."""

    @asynccontextmanager
    async def hang():
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()
        yield

    assert await run_consumer(hang, Settings()) == 0
    assert [line["event"] for line in lines()] == ["process.stopped"]


async def test_a_signal_between_joining_the_group_and_the_end_of_the_start_is_not_lost(signals, lines):
    """The consumer that has a name in its group by then leaves it."""
    left = []

    @asynccontextmanager
    async def joined():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            yield Consumer()
        finally:
            left.append(True)

    assert await run_consumer(joined, Settings()) == 0
    assert left == [True]


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("WRONGPASS invalid username-password pair or user is disabled."),
        ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        FileNotFoundError(2, "No such file or directory", "roster.toml"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_does_not_pass_ends_the_process_with_status_1(signals, lines, error):
    """One line says why; there is no traceback."""
    assert await run_consumer(Starting(error), Settings()) == 1
    [line] = lines()
    assert (line["event"], line["level"]) == ("process.failed", "error")
    assert f"{type(error).__name__}: " in line["reason"]


async def test_a_metrics_port_in_use_ends_the_process_with_status_1(signals, lines):
    """One line says why, before the consumer has joined its group."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(metrics_port=taken.getsockname()[1], host="127.0.0.1")
        starting = Starting()
        assert await run_consumer(starting, settings) == 1
    assert starting.begun == 0
    assert [line["event"] for line in lines()] == ["process.failed"]


async def test_a_redis_failure_during_the_start_ends_the_process_with_status_1(signals, lines):
    """The reason is logged, and there is no traceback."""
    assert await run_consumer(stalled, Settings()) == 1
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
    with metrics_port(Settings(metrics_port=port, host="127.0.0.1")):
        status, body = await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}{path}")
        assert status == 200
        assert b"router_events" in body
    assert is_free(port)
    with pytest.raises(urllib.error.URLError):
        await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}/metrics")


async def test_readyz_says_why_a_process_is_not_ready():
    """200 and 503, in the thread of the port: it answers also if the event loop does not run."""
    problems = [None]
    port = free_port()
    url = f"http://127.0.0.1:{port}/readyz"
    with metrics_port(Settings(metrics_port=port, host="127.0.0.1"), lambda: problems[0]):
        assert [fetch(url)[0], json.loads(fetch(url)[1])] == [200, {"status": "ready"}]
        problems[0] = "nothing works"
        with pytest.raises(urllib.error.HTTPError) as refused:
            fetch(url)
        assert refused.value.code == 503
        assert json.loads(refused.value.read()) == {"status": "not ready", "reason": "nothing works"}


async def test_port_0_serves_nothing():
    """0 disables the metrics port."""
    with metrics_port(Settings()):
        pass
