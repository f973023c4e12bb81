"""All components of the project within this process, on a Redis of the test, for tests that fill, break and count."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Self

from handlers.app import consuming
from router.receiver.app import create_app as create_receiver
from router.settings.load import load
from router.simulator.http import NO_FAULT, Sender, SignatureFault
from router.simulator.messages import message
from router.streams.client.connection import connect
from router.worker.app import working
from tests.harness.deployment import Deployment
from tests.harness.sandbox import running_sandbox
from tests.harness.serving import serving
from tests.harness.settings import make_environment, quick_recovery
from tests.support.accounts import ACCOUNT, BASE_URL, OURS, TOKEN
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from pathlib import Path

    from router.simulator.messages import SimulatedWebhook
    from router.streams.consuming.consumer import StreamConsumer

#: A customer's phone number, by the number that tests give the customer.
NUMBER = "+1557{:07d}"


class InProcessDeployment(Deployment):
    """A receiver and a sandbox; `start_worker` and `start_handler` add consumers. An async context manager."""

    def __init__(self, redis_url: str, directory: Path, **environment: str) -> None:
        self._redis_url = redis_url
        self._changes = quick_recovery(ROUTER_SPOOL_DIR=str(directory / "spool"), **environment)
        self._stack = contextlib.AsyncExitStack()
        self._sent = 0

    async def __aenter__(self) -> Self:
        sandbox = await self._stack.enter_async_context(running_sandbox())
        self.settings = load(environment=make_environment(self._redis_url, sandbox.url, **self._changes))
        super().__init__(connect(self.settings.redis, timeout=scaled(20)), sandbox, self.settings.keys)
        self._stack.push_async_callback(self.redis.aclose)
        receiver_url = await self._stack.enter_async_context(serving(create_receiver(self.settings)))
        sender = Sender(receiver_url=receiver_url, public_base_url=BASE_URL, auth_token=TOKEN)
        self._sender = await self._stack.enter_async_context(sender)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start_worker(self) -> StreamConsumer:
        """Start a worker, which ends with the deployment."""
        return await self._stack.enter_async_context(working(self.settings))

    async def start_handler(self, name: str) -> StreamConsumer:
        """Start a consumer of the participants streams, which ends with the deployment."""
        return await self._stack.enter_async_context(consuming(name, self.settings))

    async def send(self, *customers: int, text: str = "hello") -> list[int]:
        """Send a new message of each customer; returns the statuses of the answers."""
        statuses = []
        for number in customers:
            self._sent += 1
            webhook = message(
                "sms",
                account_sid=ACCOUNT,
                sender=NUMBER.format(number),
                recipient=OURS,
                body=text,
                sid=f"SM{self._sent:032x}",
            )
            statuses.append(await self.post(webhook))
        return statuses

    async def post(self, webhook: SimulatedWebhook, fault: SignatureFault = NO_FAULT) -> int:
        """Send any webhook; returns the status of the answer."""
        status, _ = await self._sender.send(webhook, fault)
        return status

    async def post_unsigned(self, number: int) -> int:
        """Send a webhook without a signature, another one for each number; returns the status of the answer."""
        webhook = message("sms", account_sid=ACCOUNT, sender=NUMBER.format(number), recipient=OURS, body="forged")
        return await self.post(webhook, SignatureFault(is_unsigned=True))

    async def joined(self) -> Counter[str]:
        """Count the participant.joined entries of each customer."""
        return Counter(one["data"]["address"] for one in await self.published() if one["type"] == "participant.joined")
