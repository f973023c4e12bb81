"""A load balancer before the receivers, at the URL that Twilio calls; it records who answered what with a 2xx.

A webhook goes to one receiver, to the other one if that does not accept it (refused, cut off, 503), and is sent again
until one does, as Twilio's own repeats and a queue before them would do. Of the status callbacks of the
sandbox, some are sent twice at once, and some are repeated as Event Streams events; their own bytes decide which.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from zlib import crc32

import aiohttp
import orjson
from aiohttp import web
from yarl import URL

from router.simulator.event_streams import streamed_callback
from router.simulator.messages import SimulatedWebhook
from tests.harness.serving import make_catch_all, serving
from tests.support.accounts import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.chaos.deployment import ChaosDeployment

#: Seconds in which a receiver must answer: as long as Twilio waits.
PATIENCE: Final = 15.0
#: Seconds after which a webhook is sent again that no receiver accepted.
RETRY_DELAY: Final = 0.2
_KEPT: Final = ("Content-Type", "X-Twilio-Signature", "I-Twilio-Idempotency-Token")
#: One callback of so many is sent twice, and one is repeated by Event Streams.
_ONE_IN: Final = 8


@dataclass(frozen=True, slots=True)
class RawWebhook:
    """A webhook as it goes over the wire; `path` with its query."""

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(slots=True)
class DeliveryRecord:
    """The record of a webhook and its copies: the receivers tried, and the number of 2xx answers of each."""

    tried: set[int] = field(default_factory=set)
    accepted: Counter[int] = field(default_factory=Counter)


class Balancer:
    """`deliveries` has every webhook; `refused` counts answers that are neither 2xx nor 503, `accepted` those with 2xx.

    `unavailable` counts answers with 503 by receiver.
    """

    def __init__(self, deployment: ChaosDeployment) -> None:
        self.deliveries: dict[RawWebhook, DeliveryRecord] = {}
        self.refused: Counter[int] = Counter()
        self.unavailable: Counter[int] = Counter()
        self.accepted = 0
        self.on_the_way = 0
        self._deployment = deployment
        self._session: aiohttp.ClientSession

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Accept and deliver webhooks while the block runs."""
        connector, limit = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=PATIENCE)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=limit, auto_decompress=False) as self._session,
            serving(
                make_catch_all(self._accept), port=self._deployment.balancer_port
            ),  # ends before the session closes
        ):
            yield

    async def send(self, webhook: SimulatedWebhook, first: int) -> bytes:
        """Sign a webhook and deliver it; returns the answer's body."""
        path, headers, body = self._deployment.sign(webhook)
        kept = tuple((name, headers[name]) for name in sorted(headers) if not name.startswith("User"))
        return await self.deliver(RawWebhook(path, kept, body), first)

    async def deliver(self, webhook: RawWebhook, first: int) -> bytes:
        """Try one receiver and then the other until one answers 2xx, or refuses; returns the answer's body."""
        delivery = self.deliveries.setdefault(_name(webhook), DeliveryRecord())
        self.on_the_way += 1
        try:
            while True:
                for number in (first, 1 - first):
                    delivery.tried.add(number)
                    status, body = await self._post(webhook, number)
                    if status is not None and 200 <= status < 300:
                        delivery.accepted[number] += 1
                        self.accepted += 1
                        return body
                    self.unavailable[number] += status == 503
                    if status not in {None, 503}:
                        self.refused[status] += 1
                        return body
                await self._deployment.timeline.pause(RETRY_DELAY)
        finally:
            self.on_the_way -= 1

    async def _post(self, webhook: RawWebhook, number: int) -> tuple[int | None, bytes]:
        url = URL(self._deployment.receivers[number] + webhook.path, encoded=True)
        try:
            async with self._session.post(url, data=webhook.body, headers=dict(webhook.headers)) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None, b""

    async def _accept(self, request: web.Request) -> web.Response:
        """Deliver a webhook of the sandbox."""
        headers = tuple((name, request.headers[name]) for name in _KEPT if name in request.headers)
        webhook = RawWebhook(request.raw_path, headers, await request.read())
        chance = crc32(webhook.body)
        first, kind = chance & 1, (chance >> 1) % _ONE_IN
        sends = [self.deliver(webhook, first)]
        if kind == 0:
            sends.append(self.deliver(webhook, 1 - first))
        if kind == 1 and request.path == "/webhooks/conversations":
            account = orjson.loads(webhook.body)["data"].get("accountId") or ACCOUNT
            event = streamed_callback(SimulatedWebhook(webhook.path, "", "", webhook.body), account_sid=account)
            sends.append(self.send(event, first))
        answers = await asyncio.gather(*sends)
        return web.Response(body=answers[0])


def _name(webhook: RawWebhook) -> RawWebhook:
    """Return the part that all copies of a webhook share: signatures may contain a time."""
    kept = tuple(pair for pair in webhook.headers if not pair[0].startswith("X-"))
    return RawWebhook(webhook.path, kept, webhook.body)
