"""All processes of the project for a soak: Redis, sandbox, receiver, worker, both consumers, and the generator.

Callbacks of the sandbox come in at the receiver as Twilio's would. Three crowds write: customers that are known, new
ones (some of them for people), and strangers whom the policy ignores. So that nothing but the project can limit a
run, conversations of new customers are closed by the API after a while and forgotten by the sandbox, and the roster
has room for everybody.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from router.core.keys import RESOLVER, Keys, Target
from router.streams.client.embedded import free_port
from router.streams.store.inspect import has_consumer
from tests.benchmarks import webhooks
from tests.benchmarks.frame import BenchmarkError
from tests.benchmarks.processes import ROOT, Processes, clean_environment, real_redis
from tests.benchmarks.webhooks import Crowd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from router.streams.client.connection import Redis
    from tests.benchmarks.processes import Child

CONNECTIONS: Final = 32
#: Our numbers: at the desk people answer, at the stale one nobody does.
DESK, STALE = "15557650002", "15557659999"
#: Customers who are there from the beginning; where numbers of new ones and of strangers begin.
KNOWN, NEW, STRANGERS = 500, 10_000, 1_000_000
#: Conversations of new customers that are open at once.
OPEN: Final = 300
#: Entries that may wait before more webhooks are sent: the run measures memory, and no backlog.
WAITING: Final = 1_000
_STALE_RULE: Final = f'\n[[rule]]\nname = "stale"\nrecipient = "+{STALE}"\ntarget = "ignore"\n'
_ROSTER: Final = '[[agent]]\nidentity = "dana"\nname = "Dana"\ncapacity = 10000\n'


class Town:
    """A running town. `webhooks` counts what was sent and answered with a 2xx."""

    def __init__(
        self,
        *,
        redis: Redis,
        redis_pid: int,
        processes: Processes,
        children: Mapping[str, Child],
        base: str,
        api: aiohttp.ClientSession,
    ) -> None:
        self.redis = redis
        self.pids = {name: child.pid for name, child in children.items()} | {"redis": redis_pid}
        self.webhooks = 0
        self.closed = 0
        self._processes = processes
        self._children = children
        self._base = base
        self._api = api
        self._runs = 0
        self._met = {"new": 0, "strangers": 0}
        self._position = {Keys().participants(0, target): "0" for target in Target}
        self._open: deque[str] = deque()

    async def known(self, count: int) -> None:
        """Let known customers write."""
        await self._shoot(count, Crowd(KNOWN, base=self._base))

    async def new(self, count: int) -> None:
        """Let so many customers write who never did, every other one to the desk."""
        first = NEW + self._met["new"]
        self._met["new"] += count
        half = count // 2
        await self._shoot(count - half, Crowd(count - half, first, base=self._base))
        if half:
            await self._shoot(half, Crowd(half, first + count - half, DESK, self._base))

    async def strangers(self, count: int) -> None:
        """Let so many write who never did, to a number where nobody takes them."""
        first = STRANGERS + self._met["strangers"]
        self._met["strangers"] += count
        await self._shoot(count, Crowd(count, first, STALE, self._base))

    async def events(self) -> int:
        """Return how many events have come in: webhooks and the API's callbacks."""
        row: dict[str, Any] = await self.redis.xinfo_stream(Keys().inbound(0))
        return int(row["entries-added"])

    async def settle(self, waiting: int = WAITING) -> None:
        """Close what has been open for long, and return once no more than so many entries wait."""
        await self._close_old()
        await self._processes.until("everything is worked on", lambda: self._has_settled(waiting), pause=0.05)

    async def letters(self) -> int:
        """Return the number of dead letters."""
        return await self.redis.xlen(Keys().dead_letters(0))

    def check(self) -> None:
        """Raise BenchmarkError if a process has ended."""
        for child in self._children.values():
            child.check()

    async def _shoot(self, count: int, crowd: Crowd) -> None:
        self._runs += 1
        order = {"port": int(self._base.rpartition(":")[2]), "connections": CONNECTIONS, "seconds": 600}
        order |= {"run": self._runs, "requests": count, "crowd": asdict(crowd)}
        answer = orjson.loads(await self._children["generator"].ask(orjson.dumps(order)))
        self.check()
        if answer["refused"]:
            raise BenchmarkError(f"{answer['refused']} of {count} webhooks were refused")
        self.webhooks += answer["requests"]

    async def _has_settled(self, waiting: int) -> bool:
        number = 0
        for stream in (Keys().inbound(0), *self._position):
            rows: Any = await self.redis.xinfo_groups(stream)
            number += sum(row["pending"] + (row["lag"] or 0) for row in rows)
        return number <= waiting

    async def _close_old(self) -> None:
        """Close the oldest conversations of new customers, as far as more than OPEN are open."""
        wanted: Any = dict(self._position)
        for stream, entries in await self.redis.xread(wanted) or ():
            self._position[stream.decode()] = entries[-1][0].decode()
            for _, fields in entries:
                data = orjson.loads(fields[b"event"])["data"]
                if fields[b"type"] == b"participant.joined" and int(data["address"][5:]) >= NEW:
                    self._open.append(data["conversation"]["id"])
        while len(self._open) > OPEN:
            some = [self._open.popleft() for _ in range(min(16, len(self._open) - OPEN))]
            await asyncio.gather(*[self._close(conversation_id) for conversation_id in some])

    async def _close(self, conversation_id: str) -> None:
        path = f"/v2/Conversations/{conversation_id}"
        async with self._api.put(path, json={"status": "CLOSED"}) as answer:
            if not answer.ok:
                raise BenchmarkError(f"closing a conversation: {answer.status}")
        self.closed += 1


@asynccontextmanager
async def town(directory: Path) -> AsyncIterator[Town]:
    """Start everything; leaving the block ends everything."""
    base, sandbox_url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    config = directory / "config"
    shutil.copytree(ROOT / "config", config)
    (config / "roster.toml").write_text(_ROSTER, encoding="utf-8")
    with (config / "routing.toml").open("a", encoding="utf-8") as routing:
        routing.write(_STALE_RULE)
    async with (
        real_redis(directory / "redis") as (server, redis),
        Processes(directory) as processes,
        aiohttp.ClientSession(sandbox_url, headers={"Authorization": webhooks.BASIC}) as api,
    ):
        await redis.config_set("auto-aof-rewrite-percentage", "100")  # or the file grows for as long as the run lasts
        environment = _environment(server.url, base, sandbox_url, directory)
        children = {name: await _start(processes, name, environment, base, sandbox_url) for name in _COMMANDS}
        for stream, group in _GROUPS:
            await processes.until(f"{group} reads", partial(has_consumer, redis, Keys(), stream, group))
        yield Town(
            redis=redis, redis_pid=server.process.pid, processes=processes, children=children, base=base, api=api
        )


_GROUPS: Final = (
    (Keys().inbound(0), RESOLVER),
    *((Keys().participants(0, target), str(target)) for target in Target),
)
_COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "sandbox": ("router", "sandbox", "--set", "keep_closed=100", "--set", "keep_communications=10"),
    "receiver": ("router", "receive", "--host", "127.0.0.1"),
    "worker": ("router", "work"),
    "ai_agent": ("handlers", "ai_agent"),
    "human_agent": ("handlers", "human_agent"),
    "generator": ("tests.benchmarks.load",),
}


async def _start(processes: Processes, name: str, environment: Mapping[str, str], base: str, sandbox_url: str) -> Child:
    command, port = [*_COMMANDS[name]], None
    if name == "sandbox":
        port = int(sandbox_url.rpartition(":")[2])
        command += ["--port", str(port), "--callback-url", f"{base}/webhooks/conversations"]
    if name == "receiver":
        port = int(base.rpartition(":")[2])
        command += ["--port", str(port)]
    has_pipes = name == "generator"
    child = await processes.start(name, "-m", *command, environment=environment, place=None, has_pipes=has_pipes)
    if port is not None:
        await processes.until_listening(child, port)
    return child


def _environment(redis_url: str, base: str, sandbox_url: str, directory: Path) -> dict[str, str]:
    return clean_environment(
        {
            "TWILIO_ACCOUNT_SID": webhooks.ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": webhooks.AUTH_TOKEN,
            "TWILIO_CONVERSATIONS_URL": sandbox_url,
            "TWILIO_CONVERSATION_CONFIGURATION_ID": "conv_configuration_00000000000000000000000001",
            "REDIS_URL": redis_url,
            "PUBLIC_BASE_URL": base,
            "ROUTER_CONFIG_DIR": str(directory / "config"),
            "ROUTER_SPOOL_DIR": str(directory / "spool"),
            "ROUTER_AI_AGENT_GREETING": "Hello there",
            "ROUTER_STREAM_MOST": "20000",
            "ROUTER_LOG_LEVEL": "warning",
        }
    )
