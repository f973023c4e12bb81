"""Traffic for a whole deployment: customers who write while something breaks, and the books of what came of it.

Every webhook is one message with a MessageSid of its own, so that each one that was answered 200 can be looked for
among what was published, and each conversation among what the API holds.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from router.core.keys import Keys, Target
from router.simulator.http import Sender
from router.simulator.messages import message

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: Webhooks that are on their way at once, and the seconds that each sender rests: a load that two cores bear.
SENDERS = 4
REST = 0.04
GREETING = "Hello there"


@dataclass
class Traffic:
    """Sends while it runs; `sent` has customer and status by MessageSid."""

    dev: dict[str, str]
    customers: int = 150
    seed: int = 4
    sent: dict[str, tuple[str, int]] = field(default_factory=dict)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self.keys = Keys(self.dev["ROUTER_NAMESPACE"], int(self.dev["ROUTER_PARTITIONS"]))

    @property
    def statuses(self) -> Counter[int]:
        """How often each status was answered."""
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
            customer = f"+1559{self._chance.randrange(self.customers):07d}"
            webhook = message(
                "sms",
                account_sid=self.dev["TWILIO_ACCOUNT_SID"],
                sender=customer,
                recipient="+15557650000",
                body=f"message {len(self.sent)} {self._chance.random()}",  # the MessageSid is made from all of this
            )
            status, _ = await sender.send(webhook)
            self.sent[dict(webhook.pairs)["MessageSid"]] = (customer, status)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.is_over.wait(), REST)

    async def published(self, redis: Redis) -> tuple[Counter[tuple[str, str]], Counter[str]]:
        """Count what was published: joins by (conversation, address), messages by MessageSid."""
        joined: Counter[tuple[str, str]] = Counter()
        messages: Counter[str] = Counter()
        for stream in self._streams():
            for _, fields in await redis.xrange(stream):
                data = orjson.loads(fields[b"event"])["data"]
                if not str(data.get("address", "")).startswith("+1559"):
                    continue
                if fields[b"type"] == b"participant.joined":
                    joined[data["conversation"]["id"], data["address"]] += 1
                elif fields[b"type"] == b"communication.received":
                    messages[data["communication"]["channel_id"]] += 1
        return joined, messages

    async def is_settled(self, redis: Redis) -> bool:
        """Tell whether every group has finished with everything, and all that was accepted is published."""
        for stream in (*self._streams(), *(self.keys.inbound(one) for one in range(self.keys.partitions))):
            for group in await redis.xinfo_groups(stream):
                if group["pending"] or group["lag"]:
                    return False
        _, messages = await self.published(redis)
        return {sid for sid, (_, status) in self.sent.items() if status == 200} <= messages.keys()

    def _streams(self) -> list[str]:
        return [self.keys.participants(one, target) for one in range(self.keys.partitions) for target in Target]

    async def in_the_api(self) -> tuple[Counter[tuple[str, str]], Counter[str]]:
        """Count what the API holds: customers by (conversation, address), greetings by conversation."""
        login = aiohttp.encode_basic_auth(self.dev["TWILIO_API_KEY"], self.dev["TWILIO_API_SECRET"])
        api = self.dev["TWILIO_CONVERSATIONS_URL"] + "/v2/Conversations"
        customers: Counter[tuple[str, str]] = Counter()
        greetings: Counter[str] = Counter()
        async with aiohttp.ClientSession(headers={"Authorization": login}) as session:
            for conversation in await _pages(session, api):
                for one in conversation["participants"]:
                    address = one["addresses"][0]["address"]
                    if one["type"] == "CUSTOMER" and address.startswith("+1559"):
                        customers[conversation["id"], address] += 1
            for conversation_id, _ in customers:
                async with session.get(f"{api}/{conversation_id}/Communications") as answer:
                    greetings[conversation_id] = str(await answer.json()).count(GREETING)
        return customers, greetings


async def _pages(session: aiohttp.ClientSession, url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        async with session.get(url, params={"pageSize": "1000"} | ({"pageToken": token} if token else {})) as answer:
            page = await answer.json()
        found += page["conversations"]
        token = page["meta"].get("nextToken")
        if not token:
            return found
