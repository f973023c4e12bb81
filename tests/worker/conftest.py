"""Fixtures: `harness` (defaults), `make_harness` (a sandbox with switches of its own)."""

from __future__ import annotations

import io

import aiohttp
import orjson
import pytest
from aiohttp import web

from router import logs
from router.core.resolution import messages, setbacks
from router.sandbox import create_app
from router.worker import singles
from tests.worker.harness import WorkerHarness, options


@pytest.fixture
def output(monkeypatch):
    """The log, in memory."""
    stream = io.StringIO()
    monkeypatch.setattr(logs._Output, "stream", stream)
    monkeypatch.setattr(logs._Output, "is_json", True)
    return stream


@pytest.fixture
def lines(output):
    """Return a function that gives the log lines of one event so far."""

    def find(event):
        return [line for text in output.getvalue().splitlines() if (line := orjson.loads(text))["event"] == event]

    return find


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Waits that are for people and outages last milliseconds here."""
    for module, name in (
        (setbacks, "SHORT_WAIT"),
        (setbacks, "LONG_WAIT"),
        (messages, "SHORT_WAIT"),
        (singles, "STEP_BACK"),
        (singles, "CREATION"),
        (singles, "TURN"),
    ):
        monkeypatch.setattr(module, name, 0.01)


@pytest.fixture
async def make_harness(redis, redis_url, output):
    runners, harnesses = [], []
    async with aiohttp.ClientSession() as session:

        async def make(*, policy=None, entropy=None, **switches):
            app = create_app(options(**switches), entropy=entropy)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
            await runner.setup()
            runners.append(runner)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            harness = WorkerHarness(redis, redis_url, runner, session)
            harness.policy = policy or harness.policy
            harness.resolver = harness.make_resolver()
            harnesses.append(harness)
            return harness

        yield make
        for harness in harnesses:
            await harness.close()
        for runner in runners:
            await runner.cleanup()


@pytest.fixture
async def harness(make_harness):
    return await make_harness()
