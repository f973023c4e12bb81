"""A proxy between Twilio and the receiver that delivers every webhook several times, in random order.

Twilio calls and signs for its URL; it does not change a webhook.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from yarl import URL

from tests.harness.serving import make_catch_all, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

#: Concurrent deliveries.
SENDERS = 4
KEPT = ("Content-Type", "X-Twilio-Signature", "I-Twilio-Idempotency-Token")


@dataclass(frozen=True)
class WireWebhook:
    """A webhook as it is sent; `path` includes the query, as written."""

    path: str
    headers: dict[str, str]
    body: bytes


class WebhookShuffler:
    """`follow_up` makes more webhooks of each one that it gets by HTTP; `answers` counts the receiver's statuses."""

    def __init__(self, *, seed: int, times: int, follow_up: Callable[[WireWebhook], Iterable[WireWebhook]]) -> None:
        self.url = ""
        self.receiver_url = ""
        self.answers: Counter[int] = Counter()
        self._random = random.Random(seed)
        self._times = times
        self._follow_up = follow_up
        self._waiting: list[Callable[[], Awaitable[None]]] = []
        self._available = asyncio.Semaphore(0)
        self._in_flight = 0
        self._session: aiohttp.ClientSession

    @property
    def is_empty(self) -> bool:
        """Whether everything that was given so far has been delivered."""
        return not self._waiting and not self._in_flight

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take webhooks while the block runs; they wait for `delivering`."""
        async with serving(make_catch_all(self._take)) as self.url, aiohttp.ClientSession() as self._session:
            yield

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        """Deliver while the block runs; no delivery may fail."""
        senders = [asyncio.create_task(self._send_all()) for _ in range(SENDERS)]
        try:
            yield
        finally:
            for sender in senders:
                sender.cancel()
            results = await asyncio.gather(*senders, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results

    def add(self, webhook: WireWebhook) -> None:
        """Add the deliveries of a webhook."""
        for _ in range(self._times):
            self.add_action(lambda: self._post(webhook))

    def add_action(self, action: Callable[[], Awaitable[None]]) -> None:
        """Add an action that takes place once, at a random moment between the deliveries."""
        self._waiting.append(action)
        self._available.release()

    async def _take(self, request: web.Request) -> web.Response:
        headers = {name: request.headers[name] for name in KEPT if name in request.headers}
        webhook = WireWebhook(request.raw_path, headers, await request.read())
        for one in (webhook, *self._follow_up(webhook)):
            self.add(one)
        return web.Response()

    async def _send_all(self) -> None:
        while True:
            await self._available.acquire()
            action = self._waiting.pop(self._random.randrange(len(self._waiting)))
            self._in_flight += 1
            await action()
            self._in_flight -= 1

    async def _post(self, webhook: WireWebhook) -> None:
        url = URL(self.receiver_url + webhook.path, encoded=True)
        async with self._session.post(url, data=webhook.body, headers=webhook.headers) as answer:
            self.answers[answer.status] += 1
