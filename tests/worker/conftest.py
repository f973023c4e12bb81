"""Fixtures: `harness` (a worker's Redis and sandbox), `make_harness` (the same with switches for the sandbox)."""

from __future__ import annotations

import contextlib

import pytest

from router.core.resolution import messages, setbacks
from router.worker import singles
from tests.harness.sandbox import running_sandbox
from tests.worker.harness import WorkerHarness


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Shorten the waits for people and outages to milliseconds."""
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
    """Return a function that starts a sandbox and returns a harness with it; all end with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(*, policy=None, **switches):
            sandbox = await stack.enter_async_context(running_sandbox(**switches))
            harness = WorkerHarness(redis, redis_url, sandbox)
            stack.push_async_callback(harness.close)
            harness.policy = policy or harness.policy
            harness.resolver = harness.make_resolver()
            return harness

        yield make


@pytest.fixture
async def harness(make_harness):
    return await make_harness()
