"""Where a harness's sandbox posts its status callbacks: they are kept, and come in when a test lets them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from router.sandbox.middlewares import STATE
from router.simulator.messages import SimulatedWebhook
from tests.support.accounts import CONFIGURATION
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.worker.harness import WorkerHarness


class StatusCallbacks:
    """Takes the status callbacks of one harness."""

    def __init__(self, harness: WorkerHarness) -> None:
        self.harness = harness
        self.caught: list[SimulatedWebhook] = []

    async def take(self, request: web.Request) -> web.Response:
        body, token = await request.read(), request.headers["I-Twilio-Idempotency-Token"]
        self.caught.append(SimulatedWebhook("/webhooks/conversations", "", "application/json", body, token=token))
        return web.Response()

    @property
    def counts(self) -> Any:
        """What became of the callbacks, by word."""
        return self.harness.sandbox.app[STATE].status_callbacks.counts

    async def take_all(self) -> list[SimulatedWebhook]:
        """What the sandbox had to tell so far, in the order in which it came, and forget it."""
        await until(lambda: self.harness.sandbox.app[STATE].status_callbacks.pending == 0)
        caught, self.caught = self.caught, []
        return caught


async def start_status_callbacks(harness: WorkerHarness) -> AsyncIterator[StatusCallbacks]:
    """Let the sandbox tell of every conversation from now on."""
    hook = StatusCallbacks(harness)
    app = web.Application()
    app.router.add_post("/", hook.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    callbacks = [{"url": f"http://127.0.0.1:{runner.addresses[0][1]}/", "method": "POST"}]
    await harness.api("PATCH", f"/sandbox/configurations/{CONFIGURATION}", {"statusCallbacks": callbacks})
    yield hook
    await runner.cleanup()
