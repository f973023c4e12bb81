"""A harness with classic conversations: the sandbox's own webhooks are caught, and come in as a test likes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import aiohttp
from aiohttp import web

from router.core.resolution.classic import Bridge
from router.sandbox import DEFAULT_CONFIGURATION_ID
from router.sandbox.options import DEFAULT_CLASSIC_SERVICE_SID as SERVICE
from router.simulator.classic import PATH, ClassicScene, classic_webhook
from router.simulator.kinds import KINDS
from router.simulator.messages import SimulatedWebhook
from tests.support.accounts import ACCOUNT, CUSTOMER, KEY, OURS, SECRET
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.worker.harness import WorkerHarness

POST_EVENTS = tuple(
    f"on{what}{how}"
    for what, hows in {
        "Conversation": ("Added", "Updated", "Removed", "StateUpdated"),
        "Participant": ("Added", "Updated", "Removed"),
        "Message": ("Added",),
        "User": ("Added",),
    }.items()
    for how in hows
)
BRIDGED = {
    "id": DEFAULT_CONFIGURATION_ID,
    "displayName": "bridged",
    "description": "for tests",
    "conversationGroupingType": "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE",
    "channelSettings": {},
    "statusCallbacks": [],
    "conversationsV1Bridge": {"serviceId": SERVICE},
}
NOW = 1_767_787_200_000_000
TOLD = {"X-Twilio-Webhook-Enabled": "true"}


def classic(kind: str, *, at: float = 0, **changes: Any) -> SimulatedWebhook:
    """A classic webhook of CUSTOMER at OURS, `at` seconds after NOW; `extra` in changes replaces parameters."""
    extra = changes.pop("extra", {})
    ends = {} if "identity" in changes else {"customer": CUSTOMER, "recipient": OURS}
    scene = ClassicScene(account_sid=ACCOUNT, service_sid=SERVICE, now=NOW + int(at * 1_000_000), **(ends | changes))
    return classic_webhook(KINDS[f"classic-{kind}"].subject, scene, **extra)


class Hook:
    """Catches what the sandbox tells of classic conversations."""

    def __init__(self) -> None:
        self.url = ""
        self.caught: list[SimulatedWebhook] = []

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        pairs = tuple(parse_qsl(body.decode(), keep_blank_values=True))
        self.caught.append(SimulatedWebhook(PATH, "", "application/x-www-form-urlencoded", body, pairs))
        return web.json_response({})

    @property
    def kinds(self) -> list[str]:
        return [dict(webhook.pairs)["EventType"] for webhook in self.caught]

    async def take_all(self, last: str) -> list[SimulatedWebhook]:
        """What came up to an event of type `last`, and forget it."""
        await until(lambda: last in self.kinds)
        caught, self.caught = self.caught, []
        return caught


async def start_hook() -> AsyncIterator[Hook]:
    hook = Hook()
    app = web.Application()
    app.router.add_post("/", hook.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield hook
    await runner.cleanup()


class Classic:
    """Twilio's side of classic conversations in a harness."""

    def __init__(self, harness: WorkerHarness, hook: Hook) -> None:
        self.harness, self.hook = harness, hook

    async def inbound(self, **fields: str) -> dict[str, Any]:
        """A message comes in at the classic product."""
        body = fields if "identity" in fields else {"from": CUSTOMER, "to": OURS} | fields
        return await self.harness.api("POST", "/sandbox/classic/inbound", {"body": "hi"} | body)

    async def call(self, method: str, path: str, **fields: str) -> Any:
        """A call of the classic API that asks for its webhooks."""
        headers = {
            "Authorization": aiohttp.encode_basic_auth(KEY, SECRET),
            "Content-Type": "application/x-www-form-urlencoded",
        } | TOLD
        form = urlencode({name.replace("__", "."): value for name, value in fields.items()})
        url = f"{self.harness.url}/v1{path}"
        async with self.harness.session.request(method, url, data=form, headers=headers) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json() if answer.status != 204 else None

    async def join(self, sid: str, **fields: str) -> dict[str, Any]:
        """Add a member; without fields the customer."""
        pair = {"MessagingBinding__Address": CUSTOMER, "MessagingBinding__ProxyAddress": OURS}
        return await self.call("POST", f"/Conversations/{sid}/Participants", **(fields or pair))


def shuffled(webhooks: list[SimulatedWebhook], seed: int) -> list[SimulatedWebhook]:
    """Each three times, in an order that the seed gives."""
    thrice = webhooks * 3
    random.Random(seed).shuffle(thrice)
    return thrice


def bridge() -> dict[str, Bridge]:
    return {ACCOUNT: Bridge(SERVICE)}
