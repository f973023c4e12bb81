"""A running sandbox and a webhook receiver to test against, both on loopback ports of their own."""

from __future__ import annotations

import base64
import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from router.sandbox import SandboxOptions
from router.sandbox.middlewares import STATE
from tests.support.waiting import until

ACCOUNT = "AC" + "1" * 32
TOKEN = "sandbox-auth-token"
KEY, SECRET = "SK" + "2" * 32, "sandbox-api-secret"
CUSTOMER, OURS = "+15550100001", "+15550109999"

BY_PROFILE = "conv_configuration_0000000000000000000000000p"
BY_ADDRESSES = "conv_configuration_0000000000000000000000000a"
BY_CHANNEL = "conv_configuration_0000000000000000000000000c"

CONFIGURATIONS = tuple(
    {
        "id": configuration_id,
        "displayName": f"tests {number}",
        "description": "for tests",
        "conversationGroupingType": grouping,
        "memoryStoreId": f"mem_store_0000000000000000000000000{number}",
        "channelSettings": {},
        "statusCallbacks": [],
    }
    for number, (configuration_id, grouping) in enumerate(
        (
            (BY_CHANNEL, "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE"),
            (BY_ADDRESSES, "GROUP_BY_PARTICIPANT_ADDRESSES"),
            (BY_PROFILE, "GROUP_BY_PROFILE"),
        )
    )
)


def make_options(**switches: Any) -> SandboxOptions:
    """Options of the test account."""
    given = {"configurations": CONFIGURATIONS, "callback_backoff_seconds": 0.001} | switches
    return SandboxOptions(account_sid=ACCOUNT, auth_token=TOKEN, api_key=KEY, api_secret=SECRET, **given)


def basic(username: str = KEY, password: str = SECRET) -> dict[str, str]:
    """The header of Basic auth."""
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


def seat(kind: str | None, address: str, channel: str = "SMS", **more: Any) -> dict[str, Any]:
    """A participant's body with one address."""
    where = {"channel": channel, "address": address}
    if "channelId" in more:
        where["channelId"] = more.pop("channelId")
    return ({"type": kind} if kind else {}) | {"addresses": [where]} | more


def pair(channel: str = "SMS", customer: str = CUSTOMER, ours: str = OURS) -> list[dict[str, Any]]:
    """The two participants that the router opens a conversation with."""
    return [seat("CUSTOMER", customer, channel), seat("AGENT", ours, channel)]


def opening(*participants: dict[str, Any], configuration: str = BY_CHANNEL, **more: Any) -> dict[str, Any]:
    """The body of POST /Conversations."""
    return {"configurationId": configuration, "participants": list(participants)} | more


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; `body` is None where it is not JSON."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


class RunningSandbox:
    """A sandbox on a loopback port, and a client of it."""

    def __init__(self, url: str, app: web.Application, session: aiohttp.ClientSession) -> None:
        self.url, self.app, self.session = url, app, session

    async def call(self, method: str, path: str, body: Any = None, **kwargs: Any) -> Answer:
        headers = {name.title(): value for name, value in kwargs.pop("headers", basic()).items()}
        if body is not None:
            kwargs["data"] = json.dumps(body)
            headers = {"Content-Type": "application/json"} | headers
        async with self.session.request(method, self.url + path, headers=headers, **kwargs) as response:
            return Answer(response.status, dict(response.headers), await response.read())

    async def get(self, path: str, **kwargs: Any) -> Answer:
        return await self.call("GET", path, **kwargs)

    async def post(self, path: str, body: Any = None, **kwargs: Any) -> Answer:
        return await self.call("POST", path, {} if body is None else body, **kwargs)

    async def put(self, path: str, body: Any) -> Answer:
        return await self.call("PUT", path, body)

    async def patch(self, path: str, body: Any) -> Answer:
        return await self.call("PATCH", path, body)

    async def open(self, *participants: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Open a conversation that must succeed."""
        answer = await self.post("/v2/Conversations", opening(*(participants or pair()), **more))
        assert answer.status == 201, answer.raw
        return answer.body

    async def capture(self, channel: str = "SMS", customer: str = CUSTOMER, **more: Any) -> dict[str, Any]:
        """Capture a message that must be taken."""
        body = {"channel": channel, "from": customer, "to": OURS, "body": "hello"} | more
        answer = await self.post("/sandbox/capture", body)
        assert answer.status in {200, 201}, answer.raw
        return answer.body

    async def switch(self, **switches: Any) -> None:
        """Turn switches by their Python names."""
        answer = await self.patch("/sandbox/options", switches)
        assert answer.status == 200, answer.raw

    async def settled(self) -> None:
        """Wait until no callback is pending."""
        await until(lambda: self.state.status_callbacks.pending == 0)

    @property
    def state(self) -> Any:
        return self.app[STATE]


@dataclass(frozen=True)
class Received:
    """A status callback as it arrived."""

    url: str
    headers: dict[str, str]
    raw: bytes

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.raw)

    @property
    def kind(self) -> str:
        return self.event["eventType"]


@dataclass
class Receiver:
    """Takes status callbacks; `answers` holds the statuses to give, then 200."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answers: deque[int] = field(default_factory=deque)

    async def take(self, request: web.Request) -> web.Response:
        url = self.url.rpartition("/")[0] + request.raw_path
        self.received.append(Received(url, dict(request.headers), await request.read()))
        return web.Response(status=self.answers.popleft() if self.answers else 200)

    @property
    def kinds(self) -> list[str]:
        return [each.kind for each in self.received]

    @property
    def callbacks(self) -> list[dict[str, str]]:
        return [{"url": self.url, "method": "POST"}]

    async def wait_for(self, count: int) -> None:
        await until(lambda: len(self.received) >= count)


async def start_site(app: web.Application) -> tuple[web.AppRunner, str]:
    """Serve `app` on a free loopback port."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"
