"""A receiver on a loopback port as serve.py runs it, with a real Redis server, and a client that changes nothing."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from yarl import URL

from router import logs
from router.core.keys import Keys
from router.receiver.app import LANE, create_app
from router.receiver.connections import connection_factory
from router.settings.load import load
from router.streams.client.embedded import free_port
from router.streams.store.quarantine import list_kept
from tests.harness.processes import start_process
from tests.harness.settings import make_environment
from tests.receiver.samples import PRIVATE, Request, opened_by
from tests.support.accounts import ACCOUNT, BASE_URL, TOKEN
from tests.support.waiting import until

if TYPE_CHECKING:
    from router.core.refused import Refused
    from tests.harness.processes import ProcessHandle


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    body: bytes


@dataclass
class Receiver:
    """A running receiver; `lines` are the log lines that it has written."""

    url: str
    keys: Keys
    redis: Any
    session: aiohttp.ClientSession
    output: io.StringIO = field(default_factory=io.StringIO)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def send(self, request: Request, method: str = "POST", data: Any = None, **headers: str) -> Answer:
        url = URL(self.url + request.path, encoded=True)
        given = request.headers(**headers)
        body = request.body if data is None else data
        async with self.session.request(
            method, url, data=body, headers=given, skip_auto_headers=["Content-Type"]
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        async with self.session.get(self.url + path, headers=headers) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def entries(self) -> list[dict[bytes, bytes]]:
        return [fields for _, fields in await self.redis.xrange(self.keys.inbound(0))]

    async def refused(self, count: int = 1) -> list[Refused]:
        """The quarantine once it has `count` webhooks; it is written after the answer."""
        found: list[Refused] = []

        async def is_there() -> bool:
            found[:] = [kept.refused async for kept in list_kept(self.redis, self.keys)]
            return len(found) >= count

        await until(is_there)
        assert len(found) == count
        return found

    async def stored(self) -> list[bytes]:
        """The keys in Redis, without those of announcements, whose moment nothing determines."""
        return [key for key in await self.redis.keys() if b":process" not in key]

    async def has_nothing_else(self) -> bool:
        """Tell whether Redis holds nothing except what was refused, the number of partitions, and announcements."""
        known = (b"quarantine", b":refusals:", b":process", self.keys.layout().encode())
        return all(any(word in key for word in known) for key in await self.redis.keys())

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.output.getvalue().splitlines()]

    def webhooks(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == "webhook"]


def settings_of(redis_url: str, **environment: str):
    """Return the settings of a receiver with these variables in its environment."""
    given = {
        "REDIS_URL": redis_url,
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        **opened_by(TOKEN),
        "PUBLIC_BASE_URL": BASE_URL,
        "ROUTER_HOST": "127.0.0.1",
    }
    return load(environment=given | environment)


@pytest.fixture
async def start(redis, redis_url, output, tmp_path, monkeypatch):
    """A function that starts a receiver with these variables; afterwards no log line may show private data."""
    monkeypatch.setattr(logs._Output, "threshold", 10)  # lines of every level count
    running = []
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=200), timeout=aiohttp.ClientTimeout(total=60)
    ) as session:

        async def start_one(*, server_url: str = redis_url, has_lane: bool = True, **environment: str) -> Receiver:
            settings = settings_of(server_url, **{"ROUTER_SPOOL_DIR": str(tmp_path / "spool")} | environment)
            runner = web.AppRunner(create_app(settings), access_log=None, handle_signals=False, shutdown_timeout=1)
            await runner.setup()
            loop = asyncio.get_running_loop()
            lane = runner.app[LANE] if has_lane else None
            factory = connection_factory(runner.server, loop, settings.max_connections, lane)
            listener = await loop.create_server(factory, "127.0.0.1", 0)
            running.append((runner, listener))
            url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
            return Receiver(url, settings.keys, redis, session, output)

        yield start_one
        for runner, listener in running:
            listener.close()
            await runner.cleanup()
    shown = output.getvalue()
    assert not [secret for secret in PRIVATE if secret in shown], "the log shows private data"


@pytest.fixture
async def launch(tmp_path, redis, redis_url):
    """A function that starts `python -m router receive ...` on a free port; the test leaves no process behind."""
    running = []
    environment = make_environment(redis_url, "http://127.0.0.1:9", ROUTER_GRACE="5")

    async def start_one(*arguments: str, **changes: str) -> ProcessHandle:
        command = ("router", "receive", "--port", str(free_port()), *arguments)
        running.append(await start_process(tmp_path, *command, **(environment | changes)))
        return running[-1]

    yield start_one
    for process in running:
        await process.kill()
        assert not [secret for secret in PRIVATE if secret in process.text], "the log shows private data"


@pytest.fixture
async def receiver(start):
    return await start()


@pytest.fixture
def keys():
    return Keys()
