"""The worker of the hand-written pair: a day's work of an engineer who knows redis-py and aiohttp.

Its receiver is `straightforward` (baselines.py). It does the same as ours for a message, and none of the rest: no order
within a subject, no retries, no dead letters, no policy, no log, no metrics; entries of a crashed process stay pending.
It reads 100 entries at once, processes all of them concurrently, and a SET NX decides who announces a customer.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from redis.asyncio import Redis

from router.process.loop import until_stopped_or
from tests.benchmarks import webhooks
from tests.benchmarks.frame import BenchmarkError
from tests.benchmarks.lean_api import CONFIGURATION

if TYPE_CHECKING:
    import argparse

#: Entries of one XREADGROUP, and the milliseconds that it blocks.
BATCH: Final = 100
BLOCK: Final = 200
CONSUMER: Final = "baseline"
PARTICIPANTS: Final = "straightforward:participants"
_ROUTE_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class HandwrittenWorker:
    """A consumer of a stream of messages, with Redis and a session of the API."""

    redis: Redis
    api: aiohttp.ClientSession
    stream: str
    group: str

    async def consume(self) -> None:
        """Process batches until canceled."""
        streams: Any = {self.stream: ">"}
        while True:
            rows: Any = await self.redis.xreadgroup(self.group, CONSUMER, streams, count=BATCH, block=BLOCK)
            for _, entries in rows or ():
                await asyncio.gather(*[self._process(entry_id, fields) for entry_id, fields in entries])

    async def _process(self, entry_id: bytes, raw: dict[bytes, bytes]) -> None:
        form = {name.decode(): value.decode() for name, value in raw.items()}
        route = f"route:{form['From']}:{form['To']}"
        known = await self.redis.get(route)
        if known is None:
            participant = await self._open_conversation(form)
            if await self.redis.set(route, json.dumps(participant), nx=True, ex=_ROUTE_SECONDS):
                await self._publish("participant.joined", form, participant)
        else:
            participant = json.loads(known)
        await self._publish("communication.received", form, participant)
        await self.redis.xack(self.stream, self.group, entry_id)

    async def _open_conversation(self, form: dict[str, str]) -> dict[str, Any]:
        """Open a conversation with the customer, or find the one that is open."""
        customer = {"channel": "SMS", "address": form["From"], "channelId": form["MessageSid"]}
        ours = {"channel": "SMS", "address": form["To"]}
        body = {
            "configurationId": CONFIGURATION,
            "participants": [
                {"type": "CUSTOMER", "addresses": [customer]},
                {"type": "AI_AGENT", "addresses": [ours]},
            ],
        }
        async with self.api.post("/v2/Conversations", json=body) as answer:
            if answer.status == 201:
                return self._customer(form, (await answer.json())["participants"])
            if answer.status != 409:
                answer.raise_for_status()
            conversation = answer.headers["X-Conflicting-Resource-Id"]
        async with self.api.get(f"/v2/Conversations/{conversation}/Participants", params={"pageSize": 1000}) as answer:
            answer.raise_for_status()
            return self._customer(form, (await answer.json())["participants"])

    @staticmethod
    def _customer(form: dict[str, str], participants: list[dict[str, Any]]) -> dict[str, Any]:
        for participant in participants:
            if any(one["address"] == form["From"] for one in participant["addresses"]):
                return participant
        raise BenchmarkError("a conversation has no customer")

    async def _publish(self, kind: str, form: dict[str, str], participant: dict[str, Any]) -> None:
        event = {
            "specversion": "1.0",
            "type": kind,
            "source": "/pair",
            "id": f"{kind}:{form['MessageSid']}",
            "subject": participant["id"],
            "datacontenttype": "application/json",
            "data": {
                "target": "ai-agent",
                "address": form["From"],
                "recipient": form["To"],
                "participant": participant,
                "text": form["Body"],
                "channel_id": form["MessageSid"],
            },
        }
        fields: Any = {"type": kind, "id": event["id"], "event": json.dumps(event)}
        await self.redis.xadd(PARTICIPANTS, fields)


async def handwritten_worker(arguments: argparse.Namespace) -> int:
    """Consume until SIGTERM."""
    async with (
        Redis.from_url(arguments.redis) as redis,
        aiohttp.ClientSession(arguments.api, headers={"Authorization": webhooks.BASIC}) as api,
    ):
        await until_stopped_or(HandwrittenWorker(redis, api, arguments.stream, arguments.group).consume())
    return 0
