"""HTTP as bytes on a socket, for requests that no client would send, and strictly parsed responses."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.waiting import deadline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(frozen=True)
class RawAnswer:
    """One response; the names of `headers` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        """Send bytes; if the other side has closed the connection, `answer` returns None."""
        with suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self, *, limit: float = 20.0) -> RawAnswer | None:
        """Return the next response, None once the connection is closed; TimeoutError after `limit` scaled seconds."""
        async with deadline(limit):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")
                status = int(lines[0].split(" ", 2)[1])
                pairs = [line.partition(":") for line in lines[1:] if line]
                headers = {name.lower(): value.strip() for name, _, value in pairs}
                if status < 200:
                    return await self.answer(limit=limit)
                return RawAnswer(status, headers, await self.reader.readexactly(int(headers.get("content-length", 0))))
            except (asyncio.IncompleteReadError, ConnectionError):
                return None

    async def answers(self) -> list[RawAnswer]:
        """Return all responses until the connection is closed."""
        found = []
        while (answer := await self.answer()) is not None:
            found.append(answer)
        return found

    async def is_closed(self) -> bool:
        """Wait until the other side closes the connection, whatever it still sends."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass
        return True

    async def close(self) -> None:
        """Close the connection."""
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


async def dial(port: int) -> Wire:
    """Open a connection, which the caller closes."""
    return Wire(*await asyncio.open_connection("127.0.0.1", port))


@asynccontextmanager
async def on_wire(port: int) -> AsyncIterator[Wire]:
    """Open a connection for the length of the block."""
    wire = await dial(port)
    try:
        yield wire
    finally:
        await wire.close()


def framed(path: bytes, body: bytes, headers: dict[str, str], *framing: str, version: str = "HTTP/1.1") -> bytes:
    """Return a POST as bytes; `framing` are further header lines, such as a Content-Length."""
    named = [f"{name}: {value}" for name, value in headers.items()]
    lines = [b"POST %s %s" % (path, version.encode()), b"Host: x", *(line.encode() for line in (*named, *framing))]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
