"""A post office between Twilio and the receiver: it takes webhooks in, and delivers each several times in random order.

Its URL is what Twilio calls, and so what is signed; nothing in a letter is altered on the way.
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

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

#: Letters that are on their way at once.
CARRIERS = 4
KEPT = ("Content-Type", "X-Twilio-Signature", "I-Twilio-Idempotency-Token")


@dataclass(frozen=True)
class Letter:
    """A webhook as it goes over the wire; `path` with its query, as it is written."""

    path: str
    headers: dict[str, str]
    body: bytes


class PostOffice:
    """`retell` makes further letters of one that Twilio brings; `answers` counts what the receiver said."""

    def __init__(self, *, seed: int, times: int, retell: Callable[[Letter], Iterable[Letter]]) -> None:
        self.url = ""
        self.receiver_url = ""
        self.answers: Counter[int] = Counter()
        self._chance = random.Random(seed)
        self._times = times
        self._retell = retell
        self._pool: list[Callable[[], Awaitable[None]]] = []
        self._waiting = asyncio.Semaphore(0)
        self._on_the_way = 0
        self._session: aiohttp.ClientSession

    @property
    def is_empty(self) -> bool:
        """Whether everything that was brought so far has been delivered."""
        return not self._pool and not self._on_the_way

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Take letters in while the block runs; they are delivered from `deliver` on."""
        app = web.Application()
        app.router.add_post("/{rest:.*}", self._take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            async with aiohttp.ClientSession() as self._session:
                yield
        finally:
            await runner.cleanup()

    @asynccontextmanager
    async def deliver(self) -> AsyncIterator[None]:
        """Deliver while the block runs."""
        carriers = [asyncio.create_task(self._carry()) for _ in range(CARRIERS)]
        try:
            yield
        finally:
            for carrier in carriers:
                carrier.cancel()
            results = await asyncio.gather(*carriers, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results

    def bring(self, letter: Letter) -> None:
        """Put a letter among those that wait, as often as each is delivered."""
        for _ in range(self._times):
            self.then(lambda: self._post(letter))

    def then(self, action: Callable[[], Awaitable[None]]) -> None:
        """Let something else happen, once, at a random moment between the deliveries."""
        self._pool.append(action)
        self._waiting.release()

    async def _take(self, request: web.Request) -> web.Response:
        headers = {name: request.headers[name] for name in KEPT if name in request.headers}
        letter = Letter(request.raw_path, headers, await request.read())
        for one in (letter, *self._retell(letter)):
            self.bring(one)
        return web.Response()

    async def _carry(self) -> None:
        while True:
            await self._waiting.acquire()
            action = self._pool.pop(self._chance.randrange(len(self._pool)))
            self._on_the_way += 1
            await action()
            self._on_the_way -= 1

    async def _post(self, letter: Letter) -> None:
        url = URL(self.receiver_url + letter.path, encoded=True)
        async with self._session.post(url, data=letter.body, headers=letter.headers) as answer:
            self.answers[answer.status] += 1
