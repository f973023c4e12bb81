"""What a webhook is answered, and how that becomes a response.

Nearly every webhook gets the same few bytes, and aiohttp would make their head anew each time: a tenth of what a
webhook costs. So the usual answer of a source is a `Ready` response, made once and sent to whoever asks. Everything
else is an ordinary response, and so is the usual answer where its connection is not usual: HTTP/1.0, a caller who wants
it closed or does not read, a receiver that is stopping.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, web

if TYPE_CHECKING:
    from collections.abc import Mapping


class Ready(web.Response):
    """A response (200) that is the same each time, for as many callers as there are.

    Those of one turn of the event loop are answered in a row at the beginning of the next, when the log lines of their
    webhooks, which were asked for before (router.logs.log_soon), are written. It is also before aiohttp goes on with
    any of their connections: that waits for a task which ends after this has been asked for.
    """

    def __init__(self, body: bytes, content_type: str) -> None:
        super().__init__(body=body, content_type=content_type)
        self._waiting: list[asyncio.Transport] = []
        self._second, self._bytes = 0, b""

    @property
    def keep_alive(self) -> bool:
        """It never ends its connection."""
        return True

    async def prepare(self, request: web.BaseRequest) -> None:
        """Have all of it sent; raises ConnectionResetError if the caller has gone away."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the caller has gone away")
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._send)
        self._waiting.append(transport)

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send."""

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        second = int(time.time())
        if second != self._second:
            self._second, self._bytes = second, self._written(second)
        for transport in waiting:
            transport.write(self._bytes)

    def _written(self, second: int) -> bytes:
        headers = {**self.headers, "Content-Length": self.content_length, "Date": formatdate(second, usegmt=True)}
        lines = ("HTTP/1.1 200 OK", *(f"{name}: {text}" for name, text in headers.items()), "", "")
        return "\r\n".join(lines).encode() + (self.body if isinstance(self.body, bytes) else b"")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a webhook is answered; `ready` is the same as a response, where there is one."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain"
    headers: Mapping[str, str] | None = None
    ready: Ready | None = None

    def to(self, request: web.BaseRequest, *, is_last: bool) -> web.Response:
        """Return the response to `request`; `is_last` closes its connection."""
        if self.ready is not None and not is_last and _is_usual(request):
            return self.ready
        response = web.Response(
            status=self.status, body=self.body, content_type=self.content_type, headers=self.headers
        )
        if is_last:
            response.force_close()
        return response


def usual_answer(body: bytes, content_type: str) -> Answer:
    """Return an answer that most webhooks of a source get."""
    return Answer(200, body, content_type, ready=Ready(body, content_type))


def _is_usual(request: web.BaseRequest) -> bool:
    return request.version == HttpVersion11 and request.keep_alive and not request.protocol.writing_paused
