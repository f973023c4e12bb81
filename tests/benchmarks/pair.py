"""The worker of the hand-written pair: what an engineer who knows redis-py and aiohttp writes in a day.

Its receiver is `straightforward` (rivals.py). It does the same as ours for a message, and nothing of what ours does
besides: no order within a subject, no repeats, no dead letters, no policy, no log, no metrics; and what a dead process
had read stays pending. It reads 100 entries at once, works on all of them at once, and leaves to one SET NX who
announces a customer.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from redis.asyncio import Redis

from router.process.loop import until_stopped
from tests.benchmarks import webhooks
from tests.benchmarks.frame import BenchmarkError
from tests.benchmarks.lean_api import CONFIGURATION

if TYPE_CHECKING:
    import argparse

#: Entries of one XREADGROUP, and the milliseconds it waits.
BATCH: Final = 100
BLOCK: Final = 200
CONSUMER: Final = "rival"
PARTICIPANTS: Final = "straightforward:participants"
_ROUTE_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class PairWorker:
    """What a message needs: Redis, the API's session, and where the messages come from."""

    redis: Redis
    api: aiohttp.ClientSession
    stream: str
    group: str

    async def consume(self) -> None:
        """Work on batches for ever."""
        streams: Any = {self.stream: ">"}
        while True:
            rows: Any = await self.redis.xreadgroup(self.group, CONSUMER, streams, count=BATCH, block=BLOCK)
            for _, entries in rows or ():
                await asyncio.gather(*[self._take(entry_id, fields) for entry_id, fields in entries])

    async def _take(self, entry_id: bytes, raw: dict[bytes, bytes]) -> None:
        form = {name.decode(): value.decode() for name, value in raw.items()}
        route = f"route:{form['From']}:{form['To']}"
        known = await self.redis.get(route)
        if known is None:
            participant = await self._enter(form)
            if await self.redis.set(route, json.dumps(participant), nx=True, ex=_ROUTE_SECONDS):
                await self._publish("participant.joined", form, participant)
        else:
            participant = json.loads(known)
        await self._publish("communication.received", form, participant)
        await self.redis.xack(self.stream, self.group, entry_id)

    async def _enter(self, form: dict[str, str]) -> dict[str, Any]:
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
        raise BenchmarkError("a conversation without its customer")

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


async def pair_worker(arguments: argparse.Namespace) -> int:
    """Consume until SIGTERM."""
    async with (
        Redis.from_url(arguments.redis) as redis,
        aiohttp.ClientSession(arguments.api, headers={"Authorization": webhooks.BASIC}) as api,
    ):
        consuming = asyncio.create_task(PairWorker(redis, api, arguments.stream, arguments.group).consume())
        stopping = asyncio.create_task(until_stopped())
        try:
            await asyncio.wait({consuming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if consuming.done():
                consuming.result()  # it never ends but by an error
        finally:
            consuming.cancel()
            stopping.cancel()
            await asyncio.gather(consuming, stopping, return_exceptions=True)
    return 0
