"""Traffic for a whole deployment: customers who write while a server fails, and an account of what came of it.

Every webhook is one message with a MessageSid of its own, so that each one that was answered 200 can be found among the
published entries, and each conversation in the API.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp

from router.core.keys import Keys
from router.simulator.http import Sender
from router.simulator.messages import message
from tests.harness.deployment import Deployment
from tests.harness.sandbox import SandboxClient
from tests.support.accounts import OURS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from router.streams.client.connection import Redis

#: Concurrent senders, and the seconds that each pauses after a webhook: a load that two cores can bear.
SENDERS = 4
PAUSE = 0.04
GREETING = "Hello there"
#: How the numbers of these customers begin.
PREFIX = "+1559"


@asynccontextmanager
async def deployment_of(dev: Mapping[str, str], redis: Redis) -> AsyncIterator[Deployment]:
    """Give the deployment that a dev.env describes."""
    login = aiohttp.encode_basic_auth(dev["TWILIO_API_KEY"], dev["TWILIO_API_SECRET"])
    keys = Keys(dev["ROUTER_NAMESPACE"], int(dev["ROUTER_PARTITIONS"]))
    async with aiohttp.ClientSession() as session:
        sandbox = SandboxClient(dev["TWILIO_CONVERSATIONS_URL"], session, authorization=login)
        yield Deployment(redis, sandbox, keys)


@dataclass
class Traffic:
    """Sends until `is_over`; `sent` has customer and status by MessageSid."""

    dev: Mapping[str, str]
    deployment: Deployment
    customers: int = 150
    seed: int = 4
    sent: dict[str, tuple[str, int]] = field(default_factory=dict)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    @property
    def statuses(self) -> Counter[int]:
        """The number of answers by status."""
        return Counter(status for _, status in self.sent.values())

    async def run(self) -> None:
        """Let customers write, several at once, until it is over."""
        dev = self.dev
        async with Sender(
            receiver_url=dev["ROUTER_URL"], public_base_url=dev["PUBLIC_BASE_URL"], auth_token=dev["TWILIO_AUTH_TOKEN"]
        ) as sender:
            await asyncio.gather(*[self._write(sender) for _ in range(SENDERS)])

    async def _write(self, sender: Sender) -> None:
        while not self.is_over.is_set():
            customer = f"{PREFIX}{self._random.randrange(self.customers):07d}"
            webhook = message(
                "sms",
                account_sid=self.dev["TWILIO_ACCOUNT_SID"],
                sender=customer,
                recipient=OURS,
                body=f"message {len(self.sent)} {self._random.random()}",  # the MessageSid is made from all of this
            )
            status, _ = await sender.send(webhook)
            self.sent[dict(webhook.pairs)["MessageSid"]] = (customer, status)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.is_over.wait(), PAUSE)

    async def published(self) -> tuple[Counter[tuple[str, str]], Counter[str]]:
        """Count the entries: joins by (conversation, address), messages by MessageSid."""
        joined: Counter[tuple[str, str]] = Counter()
        messages: Counter[str] = Counter()
        for event in await self.deployment.published():
            data = event["data"]
            if not str(data.get("address", "")).startswith(PREFIX):
                continue
            if event["type"] == "participant.joined":
                joined[data["conversation"]["id"], data["address"]] += 1
            elif event["type"] == "communication.received":
                messages[data["communication"]["channel_id"]] += 1
        return joined, messages

    async def is_settled(self) -> bool:
        """Tell whether every group has finished with all entries, and all accepted messages are published."""
        if not await self.deployment.is_idle():
            return False
        _, messages = await self.published()
        return {sid for sid, (_, status) in self.sent.items() if status == 200} <= messages.keys()

    async def in_the_api(self) -> tuple[Counter[tuple[str, str]], Counter[str]]:
        """Count the customers by (conversation, address), and the greetings by conversation."""
        sandbox = self.deployment.sandbox
        customers = Counter(
            (conversation["id"], one["addresses"][0]["address"])
            for conversation in await sandbox.conversations()
            for one in conversation["participants"]
            if one["type"] == "CUSTOMER" and one["addresses"][0]["address"].startswith(PREFIX)
        )
        greetings = Counter({each: (await sandbox.texts(each)).count(GREETING) for each, _ in customers})
        return customers, greetings
