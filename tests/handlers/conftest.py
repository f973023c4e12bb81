"""Fixtures: `harness` (see harness.py) and `lines` (the log)."""

from __future__ import annotations

import io
from contextlib import asynccontextmanager

import aiohttp
import orjson
import pytest
from aiohttp import web

from router import logs
from router.conversations import ConversationsV2
from router.sandbox import SandboxOptions, create_app
from tests.handlers.harness import HandlerHarness, make_transport
from tests.support.accounts import ACCOUNT, CONFIGURATION, KEY, OTHER_ACCOUNT, SECRET, TOKEN


@asynccontextmanager
async def _serving(account):
    configuration = {
        "id": CONFIGURATION,
        "displayName": "tests",
        "description": "for tests",
        "conversationGroupingType": "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE",
        "channelSettings": {},
        "statusCallbacks": [],
    }
    options = SandboxOptions(
        account_sid=account, auth_token=TOKEN, api_key=KEY, api_secret=SECRET, configurations=(configuration,)
    )
    runner = web.AppRunner(create_app(options), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def sandbox_url():
    async with _serving(ACCOUNT) as url:
        yield url


@pytest.fixture
async def other_sandbox_url():
    """Serve a second sandbox, the API of another account."""
    async with _serving(OTHER_ACCOUNT) as url:
        yield url


@pytest.fixture
async def harness(redis, sandbox_url):
    async with aiohttp.ClientSession() as session, make_transport(sandbox_url) as transport:
        yield HandlerHarness(redis, sandbox_url, session, ConversationsV2(transport))


@pytest.fixture
def lines(monkeypatch):
    """Return a function that returns the log lines so far, all or those of one event."""
    stream = io.StringIO()
    monkeypatch.setattr(logs._Output, "stream", stream)
    monkeypatch.setattr(logs._Output, "is_json", True)
    monkeypatch.setattr(logs._Output, "threshold", 20)

    def read(event=None):
        found = [orjson.loads(line) for line in stream.getvalue().splitlines()]
        return [line for line in found if event in {None, line["event"]}]

    return read
