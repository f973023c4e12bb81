"""Classic conversations in a WorkerHarness: the sandbox's webhooks are collected, and a test receives them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import aiohttp
from aiohttp import web

from router.core.resolution.classic import Bridge
from router.simulator.classic import PATH, ClassicScene, classic_webhook
from router.simulator.kinds import KINDS
from router.simulator.messages import SimulatedWebhook
from tests.harness.serving import make_catch_all, serving
from tests.support.accounts import ACCOUNT, CONFIGURATION, CUSTOMER, KEY, OURS, SECRET, SERVICE
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
    "id": CONFIGURATION,
    "displayName": "bridged",
    "description": "for tests",
    "conversationGroupingType": "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE",
    "channelSettings": {},
    "statusCallbacks": [],
    "conversationsV1Bridge": {"serviceId": SERVICE},
}
NOW = 1_767_787_200_000_000
WEBHOOKS_ENABLED = {"X-Twilio-Webhook-Enabled": "true"}


def classic(kind: str, *, at: float = 0, **changes: Any) -> SimulatedWebhook:
    """Return a classic webhook of CUSTOMER at OURS, `at` seconds after NOW; `extra` replaces parameters."""
    extra = changes.pop("extra", {})
    ends = {} if "identity" in changes else {"customer": CUSTOMER, "recipient": OURS}
    scene = ClassicScene(account_sid=ACCOUNT, service_sid=SERVICE, now=NOW + int(at * 1_000_000), **(ends | changes))
    return classic_webhook(KINDS[f"classic-{kind}"].subject, scene, **extra)


class Hook:
    """Collects the sandbox's webhooks about classic conversations."""

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
        """Wait for an event of type `last`; returns the webhooks up to it, and forgets them."""
        await until(lambda: last in self.kinds)
        caught, self.caught = self.caught, []
        return caught


async def start_hook() -> AsyncIterator[Hook]:
    hook = Hook()
    async with serving(make_catch_all(hook.take)) as url:
        hook.url = f"{url}/"
        yield hook


class Classic:
    """Twilio's side of classic conversations."""

    def __init__(self, harness: WorkerHarness, hook: Hook) -> None:
        self.harness, self.hook = harness, hook

    async def inbound(self, **fields: str) -> dict[str, Any]:
        """Let a customer's message come in."""
        body = fields if "identity" in fields else {"from": CUSTOMER, "to": OURS} | fields
        return await self.harness.api("POST", "/sandbox/classic/inbound", {"body": "hi"} | body)

    async def call(self, method: str, path: str, **fields: str) -> Any:
        """Call the classic API with the header that requests webhooks."""
        headers = {
            "Authorization": aiohttp.encode_basic_auth(KEY, SECRET),
            "Content-Type": "application/x-www-form-urlencoded",
        } | WEBHOOKS_ENABLED
        form = urlencode({name.replace("__", "."): value for name, value in fields.items()})
        url = f"{self.harness.url}/v1{path}"
        async with self.harness.sandbox.session.request(method, url, data=form, headers=headers) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json() if answer.status != 204 else None

    async def join(self, sid: str, **fields: str) -> dict[str, Any]:
        """Add a participant, the customer unless there are fields."""
        pair = {"MessagingBinding__Address": CUSTOMER, "MessagingBinding__ProxyAddress": OURS}
        return await self.call("POST", f"/Conversations/{sid}/Participants", **(fields or pair))


def shuffled(webhooks: list[SimulatedWebhook], seed: int) -> list[SimulatedWebhook]:
    """Return each webhook three times, in an order drawn from the seed."""
    thrice = webhooks * 3
    random.Random(seed).shuffle(thrice)
    return thrice


def bridge() -> dict[str, Bridge]:
    return {ACCOUNT: Bridge(SERVICE)}
