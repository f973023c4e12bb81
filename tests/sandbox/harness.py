"""A sandbox and a receiver of status callbacks, both within this process, and the bodies that tests send."""

from __future__ import annotations

import json
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from router.sandbox.middlewares import STATE
from tests.harness.sandbox import running_sandbox
from tests.support.accounts import CUSTOMER, KEY, OURS, SECRET
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.typedefs import Handler

BY_PROFILE = "conv_configuration_0000000000000000000000000p"
BY_ADDRESSES = "conv_configuration_0000000000000000000000000a"
BY_CHANNEL = "conv_configuration_0000000000000000000000000c"
GROUPINGS = (BY_CHANNEL, BY_ADDRESSES, BY_PROFILE)

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


def basic(username: str = KEY, password: str = SECRET) -> dict[str, str]:
    """The header of Basic authentication."""
    return {"Authorization": aiohttp.encode_basic_auth(username, password)}


def make_participant(kind: str | None, address: str, channel: str = "SMS", **more: Any) -> dict[str, Any]:
    """A participant's body with one address."""
    where = {"channel": channel, "address": address}
    if "channelId" in more:
        where["channelId"] = more.pop("channelId")
    return ({"type": kind} if kind else {}) | {"addresses": [where]} | more


def pair(channel: str = "SMS", customer: str = CUSTOMER, ours: str = OURS) -> list[dict[str, Any]]:
    """The two participants with which the router opens a conversation."""
    return [make_participant("CUSTOMER", customer, channel), make_participant("AGENT", ours, channel)]


def make_communication(channel: str = "SMS", **changes: Any) -> dict[str, Any]:
    """The body of POST Communications: the customer writes to us."""
    body = {
        "author": {"address": CUSTOMER, "channel": channel},
        "content": {"type": "TEXT", "text": "hello"},
        "recipients": [{"address": OURS, "channel": channel}],
    }
    return body | changes


def opening(*participants: dict[str, Any], configuration: str = BY_CHANNEL, **more: Any) -> dict[str, Any]:
    """The body of POST /Conversations."""
    return {"configurationId": configuration, "participants": list(participants)} | more


@dataclass(frozen=True)
class Answer:
    """An HTTP response of the sandbox."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


class RunningSandbox:
    """A sandbox with the configurations above, and a client that shows every response as it is."""

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
        """Open a conversation; it must succeed."""
        answer = await self.post("/v2/Conversations", opening(*(participants or pair()), **more))
        assert answer.status == 201, answer.raw
        return answer.body

    async def capture(self, channel: str = "SMS", customer: str = CUSTOMER, **more: Any) -> dict[str, Any]:
        """Capture a message; it must succeed."""
        body = {"channel": channel, "from": customer, "to": OURS, "body": "hello"} | more
        answer = await self.post("/sandbox/capture", body)
        assert answer.status in {200, 201}, answer.raw
        return answer.body

    async def switch(self, **switches: Any) -> None:
        """Change switches by their Python names."""
        answer = await self.patch("/sandbox/options", switches)
        assert answer.status == 200, answer.raw

    async def subscribe(self, callbacks: list[dict[str, str]]) -> None:
        """Set the status callbacks of the first configuration."""
        answer = await self.patch(f"/sandbox/configurations/{BY_CHANNEL}", {"statusCallbacks": callbacks})
        assert answer.status == 200, answer.raw

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        answer = await self.post("/sandbox/clock", {"advanceSeconds": seconds})
        assert answer.status == 200, answer.raw

    async def settled(self) -> None:
        """Wait until no webhook is pending."""
        await until(lambda: self.state.status_callbacks.pending == self.state.classic_webhooks.pending == 0)

    @property
    def state(self) -> Any:
        return self.app[STATE]


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[RunningSandbox]:
    """Run a sandbox with switches, and perhaps a clock or entropy, of its own."""
    given = {"configurations": CONFIGURATIONS, "callback_backoff_seconds": 0.001} | options
    async with running_sandbox(**given) as sandbox:
        yield RunningSandbox(sandbox.url, sandbox.app, sandbox.session)


def catch_all(handler: Handler) -> web.Application:
    """An application that gives every request, whatever its method and path, to one handler."""
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handler)
    return app


@dataclass(frozen=True)
class ReceivedCallback:
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
class CallbackReceiver:
    """Receives status callbacks; `statuses` holds those of the next responses, then it is 200."""

    url: str = ""
    received: list[ReceivedCallback] = field(default_factory=list)
    statuses: deque[int] = field(default_factory=deque)

    async def take(self, request: web.Request) -> web.Response:
        url = self.url.rpartition("/")[0] + request.raw_path
        self.received.append(ReceivedCallback(url, dict(request.headers), await request.read()))
        return web.Response(status=self.statuses.popleft() if self.statuses else 200)

    @property
    def kinds(self) -> list[str]:
        return [each.kind for each in self.received]

    @property
    def callbacks(self) -> list[dict[str, str]]:
        return [{"url": self.url, "method": "POST"}]

    async def wait_for(self, count: int) -> None:
        await until(lambda: len(self.received) >= count)
