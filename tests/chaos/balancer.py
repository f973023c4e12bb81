"""A load balancer before the receivers, at the URL that Twilio calls; it knows what was answered 2xx, and by whom.

A webhook goes to one receiver, to the other one if that does not take it (refused, cut off, 503), and is tried again
until one does, as Twilio's own repeats and a queue before them would. Of the status callbacks that the sandbox sends,
some go out twice at once, and Event Streams tells some again: which ones, their own bytes decide.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from zlib import crc32

import aiohttp
from aiohttp import web
from yarl import URL

from router.simulator.event_streams import streamed_callback
from router.simulator.messages import SimulatedWebhook
from tests.chaos.stories import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.chaos.site import Site

#: Seconds that a receiver gets for an answer: as long as Twilio waits.
PATIENCE: Final = 15.0
#: Seconds after which a webhook is tried again that nobody took.
AGAIN: Final = 0.2
_KEPT: Final = ("Content-Type", "X-Twilio-Signature", "I-Twilio-Idempotency-Token")
#: Of so many callbacks, one is sent twice and one is told by Event Streams too.
_ONE_IN: Final = 8


@dataclass(frozen=True, slots=True)
class Letter:
    """A webhook as it goes over the wire; `path` with its query."""

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(slots=True)
class Fate:
    """What happened to a letter and its equals: which receivers were tried, and who answered 2xx how often."""

    tried: set[int] = field(default_factory=set)
    taken: Counter[int] = field(default_factory=Counter)


class Balancer:
    """`fates` has every letter; `refused` counts answers that are neither 2xx nor 503."""

    def __init__(self, site: Site) -> None:
        self.fates: dict[Letter, Fate] = {}
        self.refused: Counter[int] = Counter()
        self.on_the_way = 0
        self._site = site
        self._session: aiohttp.ClientSession

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Take and deliver while the block runs."""
        app = web.Application()
        app.router.add_post("/{rest:.*}", self._take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        connector, limit = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=PATIENCE)
        async with aiohttp.ClientSession(connector=connector, timeout=limit, auto_decompress=False) as self._session:
            try:
                await web.TCPSite(runner, "127.0.0.1", self._site.balancer_port).start()
                yield
            finally:
                await runner.cleanup()  # before the session closes: who still delivers is cut off first

    async def send(self, webhook: SimulatedWebhook, first: int) -> bytes:
        """Sign a webhook and deliver it; returns the answer's body."""
        path, headers, body = self._site.sender.sign(webhook)
        kept = tuple((name, headers[name]) for name in sorted(headers) if not name.startswith("User"))
        return await self.deliver(Letter(path, kept, body), first)

    async def deliver(self, letter: Letter, first: int) -> bytes:
        """Try one receiver and then the other until one answers 2xx, or refuses; returns the answer's body."""
        fate = self.fates.setdefault(_name(letter), Fate())
        self.on_the_way += 1
        try:
            while True:
                for number in (first, 1 - first):
                    fate.tried.add(number)
                    status, body = await self._post(letter, number)
                    if status is not None and 200 <= status < 300:
                        fate.taken[number] += 1
                        return body
                    if status not in {None, 503}:
                        self.refused[status] += 1
                        return body
                await self._site.timeline.pause(AGAIN)
        finally:
            self.on_the_way -= 1

    async def _post(self, letter: Letter, number: int) -> tuple[int | None, bytes]:
        url = URL(self._site.receivers[number] + letter.path, encoded=True)
        try:
            async with self._session.post(url, data=letter.body, headers=dict(letter.headers)) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None, b""

    async def _take(self, request: web.Request) -> web.Response:
        """Deliver what the sandbox sends."""
        headers = tuple((name, request.headers[name]) for name in _KEPT if name in request.headers)
        letter = Letter(request.raw_path, headers, await request.read())
        chance = crc32(letter.body)
        first, kind = chance & 1, (chance >> 1) % _ONE_IN
        ways = [self.deliver(letter, first)]
        if kind == 0:
            ways.append(self.deliver(letter, 1 - first))
        if kind == 1 and request.path == "/webhooks/conversations":
            told = streamed_callback(SimulatedWebhook(letter.path, "", "", letter.body), account_sid=ACCOUNT)
            ways.append(self.send(told, first))
        answers = await asyncio.gather(*ways)
        return web.Response(body=answers[0])


def _name(letter: Letter) -> Letter:
    """Return what is equal of equal letters: signatures with a time in them are not."""
    kept = tuple(pair for pair in letter.headers if not pair[0].startswith("X-"))
    return Letter(letter.path, kept, letter.body)
