"""Fixture: `harness`, a consumer's Redis and sandbox (tests/handlers/harness.py)."""

from __future__ import annotations

import pytest

from router.conversations import ConversationsV2
from tests.handlers.harness import HandlerHarness, make_transport
from tests.harness.sandbox import running_sandbox


@pytest.fixture
async def harness(redis):
    async with running_sandbox() as sandbox, make_transport(sandbox.url) as transport:
        yield HandlerHarness(redis, sandbox, ConversationsV2(transport))
