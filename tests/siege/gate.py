"""The public URL of a deployment: hands the sandbox's callbacks to the receiver, late or never where a run says so."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson
from aiohttp import web
from yarl import URL

from router.tasks import end
from tests.harness.serving import make_catch_all, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

#: What passes with a callback: its type, its signature, and the token by which a duplicate is known.
_KEPT: Final = ("Content-Type", "X-Twilio-Signature", "I-Twilio-Idempotency-Token")
_RETRY: Final = 0.2
#: The rule of an undisturbed run.
AT_ONCE: Final = 0.0
LOST: Final = None


class Gate:
    """`delay` tells of each callback by how many seconds it is late; None: it is lost. The sandbox sees a 200 at once.

    The receiver is asked until it takes a callback, as Twilio's repeats would do.
    """

    def __init__(self, receiver_url: str) -> None:
        self.delay: Callable[[dict[str, Any]], float | None] = lambda _: AT_ONCE
        self.lost = 0
        self._receiver_url = receiver_url
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self, port: int) -> AsyncIterator[None]:
        """Take callbacks in while the block runs."""
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            try:
                async with serving(make_catch_all(self._take), port=port):
                    yield
            finally:
                await end(*self._tasks)

    @property
    def pending(self) -> int:
        """The number of callbacks that the receiver has not taken yet."""
        return len(self._tasks)

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name: request.headers[name] for name in _KEPT if name in request.headers}
        seconds = self.delay(orjson.loads(body))
        if seconds is None:
            self.lost += 1
            return web.Response()
        url = URL(self._receiver_url + request.raw_path, encoded=True)
        task = asyncio.create_task(self._deliver(seconds, url, headers, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if not seconds:
            await asyncio.wait([task])
        return web.Response()

    async def _deliver(self, seconds: float, url: URL, headers: dict[str, str], body: bytes) -> None:
        await asyncio.sleep(seconds)
        while True:
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with self._session.post(url, data=body, headers=headers) as answer:
                    if answer.status != 503:
                        return
            await asyncio.sleep(_RETRY)


def is_closing(event: dict[str, Any]) -> bool:
    """Tell whether a callback reports that a conversation has closed."""
    return event.get("eventType") == "CONVERSATION_UPDATED" and event["data"].get("status") == "CLOSED"
