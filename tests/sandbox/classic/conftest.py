"""Fixtures: `classic` (a client of a sandbox's classic API) and `webhooks` (a receiver of classic webhooks)."""

from __future__ import annotations

import pytest

from tests.harness.serving import serving
from tests.sandbox.classic.harness import Classic, WebhookReceiver
from tests.sandbox.harness import catch_all


@pytest.fixture
def classic(sandbox):
    return Classic(sandbox)


@pytest.fixture
async def webhooks():
    receiver = WebhookReceiver()
    async with serving(catch_all(receiver.take)) as url:
        receiver.url = f"{url}/hook"
        yield receiver
        receiver.released.set()
