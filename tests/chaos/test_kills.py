"""Processes are killed at random, the API misbehaves, webhooks repeat: nothing is lost and nothing is doubled.

A short run of what the promises say (1, 2 and 4), on real processes. The schedule comes from a seed that is printed;
ROUTER_CHAOS_SECONDS makes it longer, ROUTER_CHAOS_SEED repeats a schedule.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from dataclasses import dataclass, field

import aiohttp
import orjson
import pytest

from router.core.keys import Keys, Target
from router.sandbox.simulator import Sender, message
from router.streams.connection import connect
from tests.support.processes import RunningProcess
from tests.support.waiting import until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]
SECONDS = float(os.environ.get("ROUTER_CHAOS_SECONDS", "15"))
SEED = int(os.environ.get("ROUTER_CHAOS_SEED", "20261120"))
CUSTOMERS = 300
FAULTS = (
    {"status": 429, "retryAfter": 1, "times": 15},
    {"status": 503, "times": 15},
    {"reset": True, "when": "after", "times": 8},
    {"reset": True, "when": "before", "times": 8},
    {"latencySeconds": 0.3, "times": 30},
)
ROLES = (("router", "work"), ("router", "work"), ("handlers", "ai_agent"), ("handlers", "human_agent"))


@dataclass
class Storm:
    """What was sent with a 200, what was killed, and who runs beside `dev`."""

    dev: dict[str, str]
    directory: object
    chance: random.Random = field(default_factory=lambda: random.Random(SEED))
    accepted: set[str] = field(default_factory=set)
    kills: Counter = field(default_factory=Counter)
    running: list[RunningProcess] = field(default_factory=list)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self, role: tuple[str, ...]) -> RunningProcess:
        environment = {**self.dev, "ROUTER_HEARTBEAT_TTL": "1.0", "ROUTER_AI_AGENT_GREETING": "Hello there"}
        return await RunningProcess.start(self.directory, *role, **environment)

    async def pause(self, least: float, most: float) -> None:
        """Let some time of the schedule pass, or the storm end."""
        try:
            await asyncio.wait_for(self.is_over.wait(), self.chance.uniform(least, most))
        except TimeoutError:
            return

    async def kill(self) -> None:
        """Kill one process after the other with SIGKILL, and start it again a moment later."""
        self.running = [await self.start(role) for role in ROLES]
        while not self.is_over.is_set():
            await self.pause(0.5, 2.0)
            number = self.chance.randrange(len(ROLES))
            self.running[number].process.kill()
            await self.running[number].process.wait()
            self.kills[" ".join(ROLES[number])] += 1
            await self.pause(0.1, 0.8)
            self.running[number] = await self.start(ROLES[number])

    async def misbehave(self, session: aiohttp.ClientSession) -> None:
        """Let the API answer 429 and 503, hang up before and after the effect, and repeat and shuffle callbacks."""
        admin = self.dev["TWILIO_CONVERSATIONS_URL"] + "/sandbox/"
        while not self.is_over.is_set():
            await session.post(admin + "faults", json={"method": "*", "route": "*", **self.chance.choice(FAULTS)})
            switches = {"callbackDuplicates": self.chance.choice([0, 1]), "callbackOrder": "shuffled"}
            await session.patch(admin + "options", json=switches)
            await self.pause(1.0, 3.0)
        await session.delete(admin + "faults")

    async def send(self, sender: Sender) -> None:
        """Send messages of CUSTOMERS people, each webhook one to three times at once."""
        number = 0
        while not self.is_over.is_set():
            number += 1
            customer = f"+1558{self.chance.randrange(CUSTOMERS):07d}"
            webhook = message(
                "sms",
                account_sid=self.dev["TWILIO_ACCOUNT_SID"],
                sender=customer,
                recipient="+15557650000",
                body=f"message {number}",
            )
            copies = [sender.send(webhook) for _ in range(self.chance.choice([1, 1, 2, 3]))]
            if 200 in [status for status, _ in await asyncio.gather(*copies)]:
                self.accepted.add(customer)

    async def joined(self, redis) -> Counter:
        """How often each (conversation, address) was announced."""
        found: Counter = Counter()
        for target in Target:
            for _, fields in await redis.xrange(Keys().participants(0, target)):
                data = orjson.loads(fields[b"event"])["data"]
                if fields[b"type"] == b"participant.joined" and data["address"].startswith("+1558"):
                    found[data["conversation"]["id"], data["address"]] += 1
        return found


async def is_settled(storm: Storm, redis) -> bool:
    keys = Keys()
    for stream in (keys.inbound(0), *(keys.participants(0, target) for target in Target)):
        for group in await redis.xinfo_groups(stream):
            if group["pending"] or group["lag"]:
                return False
    return storm.accepted <= {address for _, address in await storm.joined(redis)}


async def in_the_sandbox(storm: Storm, session: aiohttp.ClientSession) -> tuple[Counter, Counter]:
    """How often each customer is in each conversation, and how many texts each conversation holds."""
    api = storm.dev["TWILIO_CONVERSATIONS_URL"] + "/v2/Conversations"
    customers, texts, token = Counter(), Counter(), ""
    while True:
        async with session.get(api, params={"pageSize": "1000"} | ({"pageToken": token} if token else {})) as answer:
            page = await answer.json()
        for conversation in page["conversations"]:
            for one in conversation["participants"]:
                address = one["addresses"][0]["address"]
                if one["type"] == "CUSTOMER" and address.startswith("+1558"):
                    customers[conversation["id"], address] += 1
        token = page["meta"].get("nextToken")
        if not token:
            break
    for conversation, _ in customers:
        async with session.get(f"{api}/{conversation}/Communications") as answer:
            texts[conversation] = len((await answer.json())["communications"])
    return customers, texts


@pytest.fixture
async def redis(dev):
    """A plain client on dev's Redis."""
    client = connect(dev["REDIS_URL"])
    yield client
    await client.aclose()


async def test_nothing_is_lost_and_nothing_doubled_while_processes_are_killed(dev, redis, tmp_path, capsys):
    """Accepted customers = announced participants = participants in the API; one greeting each; no dead letter."""
    storm = Storm({**dev}, tmp_path)
    credentials = aiohttp.encode_basic_auth(dev["TWILIO_API_KEY"], dev["TWILIO_API_SECRET"])
    sender = Sender(
        receiver_url=dev["ROUTER_URL"], public_base_url=dev["PUBLIC_BASE_URL"], auth_token=dev["TWILIO_AUTH_TOKEN"]
    )
    letters = await redis.xlen(Keys().dead_letters(0))
    async with aiohttp.ClientSession(headers={"Authorization": credentials}) as session, sender:
        asyncio.get_running_loop().call_later(SECONDS, storm.is_over.set)
        await asyncio.gather(storm.kill(), storm.misbehave(session), storm.send(sender))
        try:
            await until(lambda: is_settled(storm, redis), timeout=120)
            joined = await storm.joined(redis)
            customers, texts = await in_the_sandbox(storm, session)
        finally:
            for process in storm.running:
                await process.started()  # who is told to stop before it listens dies of the signal
            statuses = [await process.end() for process in storm.running]
            await session.patch(
                dev["TWILIO_CONVERSATIONS_URL"] + "/sandbox/options",
                json={"callbackDuplicates": 0, "callbackOrder": "in-order"},
            )
    with capsys.disabled():
        summary = f"{len(storm.accepted)} customers, {len(joined)} joined, killed {dict(storm.kills)}"
        print(f"\nchaos, seed {SEED}: {summary}")  # noqa: T201 - the seed repeats the schedule
    assert storm.kills.total() > 0
    assert {address for _, address in joined} == storm.accepted
    assert set(joined.values()) == {1}
    assert customers == joined
    assert await redis.xlen(Keys().dead_letters(0)) == letters
    assert set(statuses) == {0}
    assert max(texts.values()) <= 1, "a greeting was sent twice"
