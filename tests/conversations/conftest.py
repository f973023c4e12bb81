"""A real loopback server that answers as each test scripts it, a clock that only tests advance, and both clients.

Nothing waits for real time here: clock, sleep and random numbers of the client are replaced, and the tests of hanging
connections use a limit of milliseconds. The server keeps every request, so a test can count what was sent.
"""

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace

import orjson
import pytest
from aiohttp import encode_basic_auth, web
from aiohttp.test_utils import RawTestServer

from router.conversations import ClassicConversations, ConversationsV2, Transport
from tests.support.accounts import KEY, SECRET


class FakeTime:
    """A monotonic and a wall clock in one; sleeping advances it and is recorded."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def clock(self):
        return self.now

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@dataclass
class ScriptedApi:
    """Answers requests by a queue of steps, or by `otherwise` when the queue is empty."""

    time: FakeTime
    steps: deque = field(default_factory=deque)
    seen: list = field(default_factory=list)
    connections: set = field(default_factory=set)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    base_url: str = ""

    def reply(self, status=200, data=None, *, headers=None, raw=None, seconds=0.0, times=1):
        """Answer with `data` as JSON or with `raw` bytes, `seconds` of fake time later."""

        async def step(_request):
            self.time.now += seconds
            body = raw if raw is not None else orjson.dumps({} if data is None else data)
            return web.Response(status=status, body=body, content_type="application/json", headers=headers)

        self.steps.extend([step] * times)
        return self

    def reply_page(self, *items, key="participants", link=None):
        """Answer with one page of a classic list; a `link` without a host is on this server."""
        link = f"{self.base_url}{link}" if link and link.startswith("/v1") else link
        return self.reply(200, {key: list(items), "meta": {"key": key, "next_page_url": link}})

    def hang(self, times=1):
        """Never answer."""

        async def step(_request):
            await self.over.wait()
            return web.Response(status=599)

        self.steps.extend([step] * times)
        return self

    def reset(self):
        """Abort the connection after the request was read."""

        async def step(request):
            request.transport.abort()
            return web.Response()

        self.steps.append(step)
        return self

    def cut(self, status=200, *, headers=None):
        """Send the headers and half of the body, then close the connection."""

        async def step(request):
            response = web.StreamResponse(status=status, headers={"Content-Length": "100", **(headers or {})})
            await response.prepare(request)
            await response.write(b'{"id":')
            request.transport.close()
            return response

        self.steps.append(step)
        return self

    async def otherwise(self, _request):
        return web.Response(status=418, body=b'{"message":"not scripted"}')

    async def handle(self, request):
        body = await request.read()
        self.connections.add(request.transport)
        self.seen.append(
            SimpleNamespace(
                method=request.method,
                target=request.raw_path,
                query=list(request.query.items()),
                headers=request.headers,
                body=read_body(request.content_type, body) if body else None,
            )
        )
        step = self.steps.popleft() if self.steps else self.otherwise
        return await step(request)

    @property
    def wire(self):
        """The requests that arrived, as (method, path and query, body)."""
        return [(each.method, each.target, each.body) for each in self.seen]


def read_body(content_type, body):
    """Return a JSON body as an object, and a form as text."""
    return orjson.loads(body) if content_type == "application/json" else body.decode()


@pytest.fixture
def time():
    return FakeTime()


@asynccontextmanager
async def serving(scripted):
    """Let a scripted API listen while the block runs."""
    server = RawTestServer(scripted.handle)
    await server.start_server()
    scripted.base_url = str(server.make_url("")).rstrip("/")
    yield scripted
    scripted.over.set()
    await server.close()


@pytest.fixture
async def api(time):
    async with serving(ScriptedApi(time)) as scripted:
        yield scripted


@pytest.fixture
async def connect(time):
    """Return a function that makes a transport with the fake clock, and always with the longest jitter."""
    transports = []

    def make(base_url, **options):
        defaults = {"clock": time.clock, "wall_clock": time.clock, "sleep": time.sleep, "random": lambda: 1.0}
        transport = Transport(base_url, KEY, SECRET, **(defaults | options))
        transports.append(transport)
        return transport

    yield make
    for transport in transports:
        await transport.close()


@pytest.fixture
def calls():
    return []


@pytest.fixture
def transport(api, connect, calls):
    return connect(api.base_url, on_call=calls.append)


@pytest.fixture
def client(transport):
    return ConversationsV2(transport)


@pytest.fixture
def classic(transport):
    return ClassicConversations(transport)


@pytest.fixture
def secrets():
    """The password, and user name and password as they are sent."""
    return SECRET, encode_basic_auth(KEY, SECRET).removeprefix("Basic ")


@pytest.fixture
async def raw_server():
    """Return a function that starts a server on bare streams, for responses that no HTTP server would send."""
    servers = []

    async def start(handle):
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()
