"""All processes of the project for a soak: Redis, sandbox, receiver, worker, both consumers, and the generator.

Callbacks of the sandbox come in at the receiver as Twilio's would. Three kinds of customers write: known ones, new ones
(some of them to human agents), and ignored ones, for whom the policy has no target. So that only the project can limit
a run, conversations of new customers are closed by the API after a while and forgotten by the sandbox, and the person
at the desk has room for everybody and is assigned without being asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from router.core.keys import Keys
from router.streams.client.embedded import free_port
from router.streams.store.inspect import has_consumer
from tests.benchmarks.frame import BenchmarkError
from tests.benchmarks.processes import Processes, running_redis
from tests.benchmarks.webhooks import Senders
from tests.harness.deployment import GROUPS, Deployment, count_unfinished
from tests.harness.sandbox import SandboxClient
from tests.harness.settings import COMMANDS, make_environment, write_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from router.streams.client.connection import Redis
    from tests.benchmarks.processes import Child

CONNECTIONS: Final = 32
#: Our numbers, as digits: human agents answer at the desk; events about the unused one are ignored.
DESK, UNUSED = "15557650002", "15557659999"
#: Customers who exist from the beginning; the first numbers of new and of ignored ones.
KNOWN, NEW, IGNORED = 500, 10_000, 1_000_000
#: Conversations of new customers that are open at the same time.
OPEN: Final = 300
#: Entries that may wait before more webhooks are sent: the run measures memory, not a backlog.
WAITING: Final = 1_000
_RULES: Final = f"""
[[rule]]
name = "unused"
recipient = "+{UNUSED}"
target = "ignore"
[[queue]]
name = "default"
accept = "automatic"
"""


class SoakDeployment(Deployment):
    """A running deployment; `webhooks` counts those that were answered 2xx, `closed` the conversations closed."""

    def __init__(
        self,
        redis: Redis,
        sandbox: SandboxClient,
        *,
        redis_pid: int,
        processes: Processes,
        children: Mapping[str, Child],
        base_url: str,
    ) -> None:
        super().__init__(redis, sandbox)
        self.pids = {name: child.pid for name, child in children.items()} | {"redis": redis_pid}
        self.webhooks = 0
        self.closed = 0
        self._processes = processes
        self._children = children
        self._base_url = base_url
        self._runs = 0
        self._used = {"new": 0, "ignored": 0}
        self._position = dict.fromkeys(self.participants_streams, "0")
        self._open: deque[str] = deque()

    async def known(self, count: int) -> None:
        """Send so many webhooks of known customers."""
        await self._send(count, Senders(KNOWN, base=self._base_url))

    async def new(self, count: int) -> None:
        """Send a webhook of so many new customers, every other one to the desk."""
        first = NEW + self._used["new"]
        self._used["new"] += count
        half = count // 2
        await self._send(count - half, Senders(count - half, first, base=self._base_url))
        if half:
            await self._send(half, Senders(half, first + count - half, DESK, self._base_url))

    async def ignored(self, count: int) -> None:
        """Send a webhook of so many new customers to the unused number."""
        first = IGNORED + self._used["ignored"]
        self._used["ignored"] += count
        await self._send(count, Senders(count, first, UNUSED, self._base_url))

    async def events(self) -> int:
        """Return the number of events that have come in: webhooks and callbacks of the API."""
        row: dict[str, Any] = await self.redis.xinfo_stream(self.keys.inbound(0))
        return int(row["entries-added"])

    async def settle(self, waiting: int = WAITING) -> None:
        """Close conversations that have been open for long, and wait until no more than so many entries wait."""
        await self._close_old()
        await self._processes.until("few entries wait", lambda: self._has_settled(waiting), pause=0.05)

    def check(self) -> None:
        """Raise BenchmarkError if a process has ended."""
        for child in self._children.values():
            child.check()

    async def _send(self, count: int, senders: Senders) -> None:
        self._runs += 1
        order = {"port": int(self._base_url.rpartition(":")[2]), "connections": CONNECTIONS, "seconds": 600}
        order |= {"run": self._runs, "requests": count, "senders": asdict(senders)}
        answer = orjson.loads(await self._children["generator"].ask(orjson.dumps(order)))
        self.check()
        if answer["refused"]:
            raise BenchmarkError(f"{answer['refused']} of {count} webhooks were refused")
        self.webhooks += answer["requests"]

    async def _has_settled(self, waiting: int) -> bool:
        streams = (*self.inbound_streams, *self.participants_streams)
        return await count_unfinished(self.redis, *streams) <= waiting

    async def _close_old(self) -> None:
        """Close the oldest conversations of new customers, so that no more than OPEN are open."""
        wanted: Any = dict(self._position)
        for stream, entries in await self.redis.xread(wanted) or ():
            self._position[stream.decode()] = entries[-1][0].decode()
            for _, fields in entries:
                data = orjson.loads(fields[b"event"])["data"]
                if fields[b"type"] == b"participant.joined" and int(data["address"][5:]) >= NEW:
                    self._open.append(data["conversation"]["id"])
        while len(self._open) > OPEN:
            some = [self._open.popleft() for _ in range(min(16, len(self._open) - OPEN))]
            await asyncio.gather(*[self.sandbox.close_conversation(conversation_id) for conversation_id in some])
            self.closed += len(some)


@asynccontextmanager
async def running_deployment(directory: Path) -> AsyncIterator[SoakDeployment]:
    """Start everything; leaving the block ends everything."""
    receiver_port, sandbox_port = free_port(), free_port()
    base_url, sandbox_url = (f"http://127.0.0.1:{port}" for port in (receiver_port, sandbox_port))
    commands = COMMANDS | {
        "sandbox": ("router", "sandbox", *("--set", "keep_closed=100", "--set", "keep_communications=10")),
        "generator": ("tests.benchmarks.load",),
    }
    commands["receiver"] += ("--port", str(receiver_port))
    commands["sandbox"] += ("--port", str(sandbox_port), "--callback-url", f"{base_url}/webhooks/conversations")
    async with (
        running_redis(directory) as (server, redis),
        Processes(directory) as processes,
        aiohttp.ClientSession() as session,
    ):
        await redis.config_set("auto-aof-rewrite-percentage", "100")  # or the file grows for as long as the run lasts
        environment = make_environment(
            server.url,
            sandbox_url,
            PUBLIC_BASE_URL=base_url,
            ROUTER_CONFIG_DIR=str(write_config(directory, "dana", rules=_RULES)),
            ROUTER_AI_AGENT_GREETING="Hello there",
            ROUTER_STREAM_MOST="20000",
            ROUTER_LOG_LEVEL="warning",
        )
        children = {
            name: await processes.start(
                name, "-m", *command, environment=environment, place=None, has_pipes=name == "generator"
            )
            for name, command in commands.items()
        }
        for name, port in (("sandbox", sandbox_port), ("receiver", receiver_port)):
            await processes.until_listening(children[name], port)
        for stream, group in GROUPS:
            await processes.until(f"{group} reads", partial(has_consumer, redis, Keys(), stream, group))
        sandbox = SandboxClient(sandbox_url, session)
        yield SoakDeployment(
            redis, sandbox, redis_pid=server.pid, processes=processes, children=children, base_url=base_url
        )
