"""A client of the classic API, a receiver of its webhooks, and both SDKs' resources as plain values."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from aiohttp import web
from twilio.request_validator import RequestValidator

from tests.sandbox.harness import basic
from tests.support.accounts import CUSTOMER, OURS, TOKEN
from tests.support.official_client import API_BASE, SandboxHttpClient

if TYPE_CHECKING:
    from pydantic import BaseModel

    from tests.sandbox.harness import Answer, RunningSandbox

PAIR = {"MessagingBinding.Address": CUSTOMER, "MessagingBinding.ProxyAddress": OURS}
#: The header with which a REST call sends webhooks.
WITH_WEBHOOKS = {"X-Twilio-Webhook-Enabled": "true"}


class Classic:
    """A client of the classic API of one sandbox: forms and JSON responses."""

    def __init__(self, sandbox: RunningSandbox) -> None:
        self.sandbox = sandbox

    async def post(self, path: str, **fields: str) -> Answer:
        """Post a form; two underscores in a name stand for a dot."""
        return await self.form(path, {name.replace("__", "."): value for name, value in fields.items()})

    async def form(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        headers = {"Content-Type": "application/x-www-form-urlencoded"} | headers
        return await self.sandbox.call(
            "POST", f"/v1{path}", headers=basic() | headers, data=urlencode(fields, encoding="utf-8")
        )

    async def open(self, **fields: str) -> str:
        """Open a conversation; it must succeed, and its SID is returned."""
        answer = await self.post("/Conversations", **fields)
        assert answer.status == 201, answer.raw
        return answer.body["sid"]

    async def join(self, sid: str, **fields: str) -> Answer:
        return await self.form(f"/Conversations/{sid}/Participants", fields or PAIR)

    async def write(self, sid: str, **fields: str) -> Answer:
        return await self.post(f"/Conversations/{sid}/Messages", **fields)

    async def get(self, path: str) -> Answer:
        return await self.sandbox.get(f"/v1{path}")

    async def delete(self, path: str) -> Answer:
        return await self.sandbox.call("DELETE", f"/v1{path}")

    async def find(self, address: str = CUSTOMER) -> list[tuple[str, str]]:
        """SID and state of the conversations of an address."""
        answer = await self.sandbox.get("/v1/ParticipantConversations", params={"Address": address})
        return [(each["conversation_sid"], each["conversation_state"]) for each in answer.body["conversations"]]

    async def receive(self, **body: str) -> dict[str, Any]:
        """Receive a message; it must succeed, and its webhooks are delivered."""
        given = {"from": CUSTOMER, "to": OURS, "body": "hello"} if "conversation" not in body else {}
        answer = await self.sandbox.post("/sandbox/classic/inbound", given | body)
        assert answer.status in {200, 201}, answer.raw
        await self.sandbox.settled()
        return answer.body


def bound(address: str, proxy: str = OURS) -> dict[str, str]:
    """The form of a member with a binding."""
    return {"MessagingBinding.Address": address, "MessagingBinding.ProxyAddress": proxy}


class WebhookReceiver:
    """Receives classic webhooks, whose signature must be valid; `answers` maps an event type to its response."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.answers: dict[str, tuple[int, Any] | bytes | str] = {}
        self.released = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        body = (await request.read()).decode()
        form = dict(parse_qsl(body or request.query_string, keep_blank_values=True))
        assert request.method == ("POST" if body else "GET")
        url = self.url.rpartition("/")[0] + request.raw_path
        assert RequestValidator(TOKEN).validate(url, form if body else {}, request.headers["X-Twilio-Signature"])
        self.seen.append((request.path, form))
        answer = self.answers.get(form["EventType"], (200, {}))
        if answer == "hang":
            await self.released.wait()
            return web.Response()
        if isinstance(answer, tuple):
            return web.json_response(answer[1], status=answer[0])
        return web.Response(body=answer)

    @property
    def kinds(self) -> list[str]:
        return [form["EventType"] for _, form in self.seen]

    def form(self, kind: str) -> dict[str, str]:
        """The first webhook of an event type."""
        return next(form for _, form in self.seen if form["EventType"] == kind)


class LinkedHttpClient(SandboxHttpClient):
    """Follows the links of the sandbox too, which are complete URLs of its own."""

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        return super().request(method, url.replace(f"{self._base_url}/", f"{API_BASE}/"), *args, **kwargs)


def official_fields(instance: object) -> dict[str, Any]:
    """The fields that a resource of the official client was given, times as on the wire."""
    fields = {name: value for name, value in vars(instance).items() if not name.startswith("_")}
    texts = {name: _plain(value) for name, value in fields.items() if value is not None}
    return {name: value for name, value in texts.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, dict):
        return {name: each for name, each in value.items() if each is not None}
    return value


def our_fields(resource: BaseModel) -> dict[str, Any]:
    """The fields that a resource of our client was given, without defaults."""
    return {name: value for name, value in resource.model_dump(exclude_none=True).items() if value != ""}
