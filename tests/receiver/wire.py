"""Requests as raw bytes, for what no HTTP client would send."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.receiver.samples import Request


async def speak(receiver, data: bytes, *, closes: bool = False) -> bytes:
    """Send raw bytes on a new connection; returns the head of the answer, or nothing if `closes` ends it at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    writer.write(data)
    await writer.drain()
    if closes:
        writer.close()
        await writer.wait_closed()
        return b""
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return answer


def head(request: Request, *, length: int | None, more: str = "") -> bytes:
    """The head of a request, for a body of `length` bytes or (None) in chunks; `more` are further header lines."""
    given = [f"{name}: {value}" for name, value in request.headers().items()]
    lines = [f"POST {request.path} HTTP/1.1", "Host: x", *given]
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return ("\r\n".join([*lines, framing]) + "\r\n" + more + "\r\n").encode()


def whole(request: Request, more: str = "") -> bytes:
    """A whole request; `more` are further header lines."""
    return head(request, length=len(request.body), more=more) + request.body
