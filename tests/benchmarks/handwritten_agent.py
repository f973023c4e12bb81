"""An AI agent written by hand: a day's work of an engineer who knows redis-py and aiohttp.

It does for `participant.joined` what ours does: it reads who is in the conversation, joins it if no agent is at our
address, and answers. It has as many entries at once as ours has requests. Nothing keeps it from answering twice: an
entry of a process that died is answered by nobody, and one that another process takes over is answered again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson
from redis.asyncio import Redis

from router.process.loop import until_stopped_or
from tests.benchmarks import webhooks
from tests.benchmarks.frame import BenchmarkError
from tests.benchmarks.handwritten_worker import BATCH, BLOCK, CONSUMER

if TYPE_CHECKING:
    import argparse

#: Entries at once, as ROUTER_API_CONCURRENCY is by default.
AT_ONCE: Final = 256
TEXT: Final = "Hello there"


@dataclass(frozen=True, slots=True)
class HandwrittenAgent:
    """A consumer of a participants stream, with Redis and a session of the API."""

    redis: Redis
    api: aiohttp.ClientSession
    stream: str
    group: str
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def consume(self) -> None:
        """Process entries until canceled, a new one whenever another is done."""
        streams: Any = {self.stream: ">"}
        async with asyncio.TaskGroup() as group:
            while True:
                rows: Any = await self.redis.xreadgroup(self.group, CONSUMER, streams, count=BATCH, block=BLOCK)
                for _, entries in rows or ():
                    for entry_id, fields in entries:
                        await self._slots.acquire()
                        group.create_task(self._process(entry_id, fields))

    async def _process(self, entry_id: bytes, fields: dict[bytes, bytes]) -> None:
        try:
            if fields[b"type"] == b"participant.joined":
                data = orjson.loads(fields[b"event"])["data"]
                await self._answer(data, await self._join(data))
            await self.redis.xack(self.stream, self.group, entry_id)
        finally:
            self._slots.release()

    async def _join(self, data: dict[str, Any]) -> str:
        """Return the id of the agent at our address, who joins if nobody is there."""
        path, ours = f"/v2/Conversations/{data['conversation']['id']}/Participants", data["recipient"]
        for one in (await self._ask("GET", path))["participants"]:
            if any(each["address"] == ours["address"] for each in one["addresses"]):
                return str(one["id"])
        body = {"type": "AI_AGENT", "name": "AI agent", "addresses": [ours]}
        return str((await self._ask("POST", path, body))["id"])

    async def _answer(self, data: dict[str, Any], agent: str) -> None:
        payload = {
            "from": {"participantId": agent, "channel": data["channel"]},
            "to": [{"participantId": data["participant"]["id"], "channel": data["channel"]}],
            "content": {"text": TEXT},
        }
        path = f"/v2/Conversations/{data['conversation']['id']}/Actions"
        await self._ask("POST", path, {"type": "SEND_MESSAGE", "payload": payload})

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        async with self.api.request(method, path, json=body) as answer:
            if not answer.ok:
                raise BenchmarkError(f"{method} {path}: {answer.status}")
            return orjson.loads(await answer.read())


async def handwritten_agent(arguments: argparse.Namespace) -> int:
    """Consume until SIGTERM."""
    async with (
        Redis.from_url(arguments.redis, max_connections=2 * AT_ONCE) as redis,
        aiohttp.ClientSession(
            arguments.api,
            headers={"Authorization": webhooks.BASIC},
            connector=aiohttp.TCPConnector(limit=AT_ONCE),
        ) as api,
    ):
        await until_stopped_or(HandwrittenAgent(redis, api, arguments.stream, arguments.group).consume())
    return 0
