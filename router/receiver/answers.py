"""Answers to webhooks, and the responses made from them.

Nearly every webhook of a source gets the same few bytes, and aiohttp would render their head each time: a tenth of the
cost of a webhook. The constant answer of a source is therefore a SharedResponse, made once and sent to all callers.
Every other answer is an ordinary response. So is the constant one on an unusual connection: HTTP/1.0, a caller that
asks to close it or does not read, a receiver that is stopping.
"""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, web

from router.core.values import Value

if TYPE_CHECKING:
    from collections.abc import Mapping


class SharedResponse(web.Response):
    """A response (200) that is sent unchanged to any number of callers.

    The callers of one turn of the event loop are answered together at the beginning of the next. By then the log lines
    of their webhooks have been written, which were scheduled before (router.logs.log_soon). aiohttp has not yet gone on
    with any of their connections: that waits for a task which ends after this response has been scheduled.
    Gain, by tests.benchmarks.steps: 600 of the 3,500 steps of a webhook, nearly all of them aiohttp's.
    """

    def __init__(self, body: bytes, content_type: str) -> None:
        super().__init__(body=body, content_type=content_type)
        self._waiting: list[asyncio.Transport] = []
        self._second, self._bytes = 0, b""

    @property
    def keep_alive(self) -> bool:
        """Always True: this response never ends its connection."""
        return True

    async def prepare(self, request: web.BaseRequest) -> None:
        """Schedule the whole response; raises ConnectionResetError if the caller has disconnected."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the caller has disconnected")
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._send)
        self._waiting.append(transport)

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: the whole response is scheduled already."""

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        data = self.render()
        for transport in waiting:
            if not transport.is_closing():  # else uvloop raises, and the others would get no answer
                transport.write(data)

    def render(self) -> bytes:
        """Return the whole response, with the date of now; it is made once a second."""
        second = int(time.time())
        if second != self._second:
            self._second, self._bytes = second, self._render(second)
        return self._bytes

    def _render(self, second: int) -> bytes:
        headers = {**self.headers, "Content-Length": self.content_length, "Date": formatdate(second, usegmt=True)}
        lines = ("HTTP/1.1 200 OK", *(f"{name}: {text}" for name, text in headers.items()), "", "")
        return "\r\n".join(lines).encode() + (self.body if isinstance(self.body, bytes) else b"")


class Answer(Value):
    """The answer to a webhook; `shared` is the same as a SharedResponse, if it is a constant one."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain"
    headers: Mapping[str, str] | None = None
    shared: SharedResponse | None = None

    def to(self, request: web.BaseRequest, *, is_last: bool) -> web.Response:
        """Return the response to `request`; `is_last` closes its connection."""
        if self.shared is not None and not is_last and _can_share(request):
            return self.shared
        response = web.Response(
            status=self.status, body=self.body, content_type=self.content_type, headers=self.headers
        )
        if is_last:
            response.force_close()
        return response


async def respond(answer: Answer, request: web.BaseRequest, *, is_last: bool) -> web.StreamResponse:
    """Return the response to `request`, once the log line of its webhook is written."""
    response = answer.to(request, is_last=is_last)
    if not isinstance(response, SharedResponse):
        await asyncio.sleep(0)  # its log line is written first, together with those of this turn of the loop
    return response


def make_constant(body: bytes, content_type: str | None) -> Answer:
    """Return the constant answer of a source."""
    content_type = content_type or "text/plain"
    return Answer(200, body, content_type, shared=SharedResponse(body, content_type))


def _can_share(request: web.BaseRequest) -> bool:
    return request.version == HttpVersion11 and request.keep_alive and not request.protocol.writing_paused
