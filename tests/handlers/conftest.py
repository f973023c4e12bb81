"""Fixtures: `harness` (see harness.py), `environment` (the settings of a consumer) and `lines` (the log)."""

from __future__ import annotations

import io

import orjson
import pytest

from router import logs
from router.conversations import ConversationsV2
from tests.handlers.harness import HandlerHarness, make_transport
from tests.harness.sandbox import running_sandbox
from tests.support.accounts import ACCOUNT, KEY, SECRET


@pytest.fixture
async def harness(redis):
    async with running_sandbox() as sandbox, make_transport(sandbox.url) as transport:
        yield HandlerHarness(redis, sandbox, ConversationsV2(transport))


@pytest.fixture
def environment(redis_url, harness):
    """Return the settings that a consumer needs."""
    return {
        "REDIS_URL": redis_url,
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_API_KEY": KEY,
        "TWILIO_API_SECRET": SECRET,
        "TWILIO_CONVERSATIONS_URL": harness.sandbox.url,
    }


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
