"""Status callbacks of a WorkerHarness: collected, and received when a test does so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from router.sandbox.middlewares import STATE
from router.simulator.messages import SimulatedWebhook
from tests.harness.serving import make_catch_all, serving
from tests.support.accounts import CONFIGURATION
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.worker.harness import WorkerHarness


class StatusCallbacks:
    """Collects the status callbacks of a sandbox."""

    def __init__(self, harness: WorkerHarness) -> None:
        self.harness = harness
        self.caught: list[SimulatedWebhook] = []

    async def take(self, request: web.Request) -> web.Response:
        body, token = await request.read(), request.headers["I-Twilio-Idempotency-Token"]
        self.caught.append(SimulatedWebhook("/webhooks/conversations", "", "application/json", body, token=token))
        return web.Response()

    @property
    def counts(self) -> Any:
        """The number of callbacks by outcome."""
        return self.harness.sandbox.app[STATE].status_callbacks.counts

    async def take_all(self) -> list[SimulatedWebhook]:
        """Wait until the sandbox has sent all callbacks; returns them in the order of arrival, and forgets them."""
        await until(lambda: self.harness.sandbox.app[STATE].status_callbacks.pending == 0)
        caught, self.caught = self.caught, []
        return caught


async def start_status_callbacks(harness: WorkerHarness) -> AsyncIterator[StatusCallbacks]:
    """Let the sandbox send callbacks about every conversation from now on."""
    hook = StatusCallbacks(harness)
    async with serving(make_catch_all(hook.take)) as url:
        callbacks = {"statusCallbacks": [{"url": f"{url}/", "method": "POST"}]}
        await harness.api("PATCH", f"/sandbox/configurations/{CONFIGURATION}", callbacks)
        yield hook
