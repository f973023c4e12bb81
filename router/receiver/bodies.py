"""Reading request bodies within limits of size, time and memory.

Nothing about a body is proven while it is being received, and each one takes memory meanwhile. A genuine webhook is
small, or arrives together with its head. Large bodies therefore share a bounded number of bytes, and one that does not
fit is answered 503, to be sent again; small bodies are not counted.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import web

from router.core.errors import NotDurableError, TooLargeError, UnreadableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

#: Bytes of a body that is not counted as large.
SMALL: Final = 16 * 1024
#: Bytes that all large bodies of one process may take at once.
LARGE_AT_ONCE: Final = 128 * 1_048_576
#: Mails that may be received at once: each takes up to about a megabyte, however large it is.
MAILS_AT_ONCE: Final = 200
#: Seconds that a caller may take to send a body.
BODY_TIMEOUT: Final = 15.0
#: Seconds that a mail may take in all (30 MB at 2 Mbit/s), and between two of its chunks.
MAIL_TIMEOUT: Final = 120.0
STALL_TIMEOUT: Final = 15.0


class InFlightBytes:
    """A bounded number of bytes, or of mails, that are being received; for one event loop."""

    def __init__(self, size: int, *, small: int = 0) -> None:
        self._free = size
        self._small = small

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Reserve `size` while the block runs; raises NotDurableError if that is more than is free.

        A `size` up to `small` is not counted.
        """
        taken = 0 if size <= self._small else size
        if taken > self._free:
            raise NotDurableError("too many bodies are being received at once")
        self._free -= taken
        try:
            yield
        finally:
            self._free += taken


async def read_body(request: web.Request, limit: int, in_flight: InFlightBytes) -> bytes:
    """Return the raw body.

    Raises TooLargeError over `limit` bytes, UnreadableError if it does not arrive whole and in time, and
    NotDurableError if `in_flight` cannot reserve its size.
    """
    if (request.content_length or 0) > limit:
        raise TooLargeError(f"{request.content_length} bytes")
    try:
        if request.content.is_eof():  # it arrived with its head: no timer, no coroutine (- 3 % by make bench)
            body = request.content.read_nowait()
            if len(body) > limit:
                raise TooLargeError(f"more than {limit} bytes")
            return body
        size = request.content_length
        with in_flight.reserve(limit if size is None else size):
            async with asyncio.timeout(BODY_TIMEOUT):
                return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise TooLargeError(f"more than {limit} bytes") from error
    except (TimeoutError, web.RequestPayloadError, ConnectionError) as error:
        raise UnreadableError("the body did not arrive whole") from error


async def read_chunks(request: web.Request, limit: int) -> AsyncGenerator[bytes, None]:
    """Yield the raw body of a mail in chunks as they arrive.

    Raises TooLargeError over `limit` bytes, before the first chunk if the length is announced; UnreadableError if the
    body does not arrive whole and in time.
    """
    if (request.content_length or 0) > limit:
        raise TooLargeError(f"{request.content_length} bytes")
    clock = asyncio.get_running_loop().time
    deadline, size = clock() + MAIL_TIMEOUT, 0
    while True:
        try:
            async with asyncio.timeout_at(min(deadline, clock() + STALL_TIMEOUT)):
                chunk = await request.content.readany()
        except (TimeoutError, web.RequestPayloadError, ConnectionError) as error:
            raise UnreadableError("the body did not arrive whole") from error
        if not chunk:
            return
        size += len(chunk)
        if size > limit:
            raise TooLargeError(f"more than {limit} bytes")
        yield chunk
