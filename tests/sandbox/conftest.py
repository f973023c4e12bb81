"""Fixtures: `sandbox` (defaults), `start` (a sandbox with switches of its own), `receiver` (of status callbacks)."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web

from router.sandbox import create_app
from tests.sandbox.harness import Receiver, RunningSandbox, make_options, start_site


@pytest.fixture
async def start():
    runners = []
    async with aiohttp.ClientSession() as session:

        async def start_one(*, clock=None, entropy=None, **switches):
            app = create_app(make_options(**switches), clock=clock, entropy=entropy)
            runner, url = await start_site(app)
            runners.append(runner)
            return RunningSandbox(url, app, session)

        yield start_one
        for runner in runners:
            await runner.cleanup()


@pytest.fixture
async def sandbox(start):
    return await start()


@pytest.fixture
async def receiver():
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", receiver.take)
    runner, url = await start_site(app)
    receiver.url = f"{url}/hook"
    yield receiver
    await runner.cleanup()
