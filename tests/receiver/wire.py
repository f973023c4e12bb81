"""Requests as bytes on a connection of their own: for what no client would send."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.receiver.samples import Request


async def speak(receiver, data: bytes, *, closes: bool = False) -> bytes:
    """Send raw bytes on a connection of its own; returns the answer, or nothing if we `closes` it at once."""
    host, _, port = receiver.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
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
    given = [f"{name}: {value}" for name, value in request.headers().items()]
    lines = [f"POST {request.path} HTTP/1.1", "Host: x", *given]
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return ("\r\n".join([*lines, framing]) + "\r\n" + more + "\r\n").encode()
