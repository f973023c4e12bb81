"""Fixtures: `sandbox` (defaults), `start` (a sandbox with switches of its own), `receiver` (of status callbacks)."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from tests.harness.serving import serving
from tests.sandbox.harness import CallbackReceiver, catch_all, running


@pytest.fixture
async def start():
    async with AsyncExitStack() as stack:

        async def start_one(**options):
            return await stack.enter_async_context(running(**options))

        yield start_one


@pytest.fixture
async def sandbox(start):
    return await start()


@pytest.fixture
async def receiver():
    receiver = CallbackReceiver()
    async with serving(catch_all(receiver.take)) as url:
        receiver.url = f"{url}/hook"
        yield receiver
