"""Reading request bodies within limits of size, time and memory, and working on large ones within a share of the loop.

Nothing about a body is proven until its signature has been compared, and it takes memory meanwhile. A genuine webhook
is small, or arrives together with its head. Large bodies therefore share a bounded number of bytes; small ones are not
counted. If a large one does not fit, the slowest of those that have been arriving for a while, or of which less has
arrived, gives way to it: senders that drip or only announce cannot keep out others for as long as they like. If there
is none, the new one is answered 503, to be sent again.

Comparing the signature of a large one takes milliseconds. LoopShare does such work in slices, so that small webhooks
pass in between; ReadingPace limits how much is received in a second.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from aiohttp import web

from router.core.errors import NotDurableError, TooLargeError, UnreadableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator

    from aiohttp.streams import StreamReader

T = TypeVar("T")

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
#: Seconds after which a body that is still arriving may have to give way to another one.
PATIENCE: Final = 2.0
#: Seconds of work on large bodies between two looks at everything else.
SLICE: Final = 0.001
#: How long everything else has the loop for itself after a slice, in slices.
REST: Final = 3
#: Bytes of large bodies that are received in a second.
RATE: Final = 64 * 1_048_576
#: Seconds of a pause that is not worth a timer.
IMMEDIATE: Final = 0.001
#: Chunks of a body that may be of any size; beyond this number they must hold LEAST_CHUNK bytes on average. Each one
#: takes a few calls in Python to parse. Twilio and SendGrid announce a length; a proxy makes chunks of kilobytes.
FREE_CHUNKS: Final = 256
LEAST_CHUNK: Final = 512
#: Chunks that a body which arrives with its head may be in, to be judged at once, and the bytes that each chunk counts
#: as for ReadingPace: so parsing chunks takes a fifth of the loop's time at most.
FEW_CHUNKS: Final = 16
CHUNK_WEIGHT: Final = 1024
_INCOMPLETE: Final = "the body did not arrive whole"


class LoopShare:
    """Work that takes long, of any number of requests: they take turns, in slices of about SLICE seconds.

    A slice is followed by REST times as long without one. So this work takes a quarter of the loop's time at most,
    however much of it there is, and delays everything else by about a slice.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()  # it is fair: whoever has waited longest is next

    async def run(self, steps: Generator[None, None, T]) -> T:
        """Run `steps` and return their result. The first step is done at once, all others wait for their turns."""
        try:
            next(steps)
            while True:
                await self._turn.acquire()
                self._work(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return] # the type of a generator's value is not known here

    def _work(self, steps: Generator[None, None, object]) -> None:
        """Do a slice, at least one step, and end this turn later; raises StopIteration with the last step."""
        begun = time.perf_counter()
        try:
            next(steps)
            while time.perf_counter() - begun < SLICE:
                next(steps)
        finally:
            rest = (time.perf_counter() - begun) * REST
            asyncio.get_running_loop().call_later(rest, self._turn.release)


class ReadingPace:
    """The rate at which the bytes and chunks of bodies are taken from their connections, of all of them together.

    More is left to the senders' side. Receiving a megabyte takes a millisecond, whatever becomes of it.
    """

    def __init__(self) -> None:
        self._free_at = 0.0

    def delay(self, size: int, chunks: int = 0) -> float:
        """Return the seconds to wait after `size` bytes in so many chunks were taken."""
        now = time.monotonic()
        self._free_at = max(now, self._free_at) + (size + chunks * CHUNK_WEIGHT) / RATE
        return self._free_at - now


@dataclass(slots=True, eq=False)
class Transfer:
    """A body that is being received: its reserved `size`, what has arrived, and the limit of the present read."""

    size: int
    began: float
    pace: ReadingPace
    received: int = 0
    limit: asyncio.Timeout | None = None
    is_displaced: bool = False

    def displace(self) -> None:
        """End it in favor of another one: its next or present read raises NotDurableError."""
        self.size, self.is_displaced = 0, True
        if self.limit is not None:
            self.limit.reschedule(asyncio.get_running_loop().time())


class InFlightBytes:
    """A bounded number of bytes, or of mails, that are being received and judged; for one event loop."""

    def __init__(self, size: int, *, small: int = 0) -> None:
        self._free = size
        self._small = small
        self._transfers: set[Transfer] = set()
        self._pace = ReadingPace()

    @contextmanager
    def reserve(self, size: int, arrived: int = 0) -> Iterator[Transfer]:
        """Reserve `size` while the block runs; raises NotDurableError if that is more than can be had.

        A `size` up to `small` is not counted. Of the body `arrived` bytes are here already.
        """
        transfer = Transfer(0 if size <= self._small else size, time.monotonic(), self._pace)
        if transfer.size > self._free:
            self._make_room(transfer.size, arrived)
        self._free -= transfer.size
        self._transfers.add(transfer)
        try:
            yield transfer
        finally:
            self._transfers.discard(transfer)
            self._free += transfer.size

    @asynccontextmanager
    async def received(self, request: web.Request, limit: int, arrived: bytes | None) -> AsyncIterator[bytes]:
        """Receive a body and count it while the block runs; `arrived` is the result of `read_arrived`.

        Raises as `read_body`, and NotDurableError if too much is being received.
        """
        length = request.content_length
        here = request.content.total_bytes if arrived is None else len(arrived)
        with self.reserve(limit if length is None else length, here) as transfer:
            yield await read_body(request, limit, transfer) if arrived is None else arrived

    def _make_room(self, size: int, arrived: int) -> None:
        """Displace transfers until `size` is free; raises NotDurableError, displacing none, if in vain.

        The slowest of those that have been arriving for a while, or of which fewer bytes are here than have `arrived`
        of the new one: announcing a large body again and again must cost more than a head.
        """
        now = time.monotonic()
        waiting = [one for one in self._transfers if one.limit is not None]
        slow = [one for one in waiting if now - one.began >= PATIENCE or one.received < arrived]
        slow.sort(key=lambda one: one.received / (now - one.began or 1))
        chosen: list[Transfer] = []
        for one in slow:
            if self._free + sum(each.size for each in chosen) >= size:
                break
            chosen.append(one)
        if self._free + sum(each.size for each in chosen) < size:
            raise NotDurableError("too many bodies are being received at once")
        for one in chosen:
            self._free += one.size
            one.displace()


def read_arrived(request: web.Request, limit: int) -> bytes | None:
    """Return the raw body if it has arrived with its head, as nearly every one: no timer, no coroutine (- 3 %).

    One of many HTTP chunks is left to `read_body`. Raises TooLargeError over `limit` bytes, and UnreadableError if it
    broke off.
    """
    length = _require_length(request, limit)
    try:
        if not request.content.is_eof() or (length is None and unread_chunks(request.content) > FEW_CHUNKS):
            return None
        body = request.content.read_nowait()
    except (web.RequestPayloadError, ConnectionError) as error:
        raise UnreadableError(_INCOMPLETE) from error
    if len(body) > limit:
        raise TooLargeError(f"more than {limit} bytes")
    return body


async def read_body(request: web.Request, limit: int, transfer: Transfer) -> bytes:
    """Return the raw body.

    Raises TooLargeError over `limit` bytes or for many tiny chunks, UnreadableError if it does not arrive whole and in
    time, NotDurableError if its `transfer` is displaced.
    """
    return b"".join([chunk async for chunk in _read(request, limit, transfer, BODY_TIMEOUT, BODY_TIMEOUT)])


def read_chunks(request: web.Request, limit: int, transfer: Transfer) -> AsyncGenerator[bytes, None]:
    """Yield the raw body of a mail in chunks as they arrive.

    Raises TooLargeError over `limit` bytes, before the first one if the length is announced, or for many tiny HTTP
    chunks; UnreadableError if the body does not arrive whole and in time; NotDurableError if its `transfer` is
    displaced.
    """
    return _read(request, limit, transfer, MAIL_TIMEOUT, STALL_TIMEOUT)


async def _read(
    request: web.Request, limit: int, transfer: Transfer, total: float, stall: float
) -> AsyncGenerator[bytes, None]:
    reader = _ChunkReader() if _require_length(request, limit) is None else _Reader()
    clock = asyncio.get_running_loop().time
    deadline = clock() + total
    while True:
        try:
            async with asyncio.timeout_at(min(deadline, clock() + stall)) as transfer.limit:
                data = await reader.read(request.content)
        except (TimeoutError, web.RequestPayloadError, ConnectionError) as error:
            if not transfer.is_displaced:
                raise UnreadableError(_INCOMPLETE) from error
        finally:
            transfer.limit = None
        if transfer.is_displaced:
            raise NotDurableError("too many bodies are being received at once, and this one is the slowest")
        if not data:
            return
        transfer.received += len(data)
        pause = transfer.pace.delay(len(data), reader.chunks)
        if pause > IMMEDIATE:
            deadline += pause
            await asyncio.sleep(pause)
        if transfer.received > limit or reader.excess:
            raise TooLargeError(reader.excess or f"more than {limit} bytes")
        yield data


class _Reader:
    """Reads a body of announced length."""

    #: HTTP chunks of the last read.
    chunks = 0
    #: The reason to refuse a body in too many small chunks.
    excess: str | None = None

    async def read(self, content: StreamReader) -> bytes:
        """Return the next bytes, none at the end."""
        return await content.readany()


class _ChunkReader(_Reader):
    """Reads a body in HTTP chunks, and counts them."""

    def __init__(self) -> None:
        self._all_chunks = 0

    async def read(self, content: StreamReader) -> bytes:
        """Return the next bytes, none at the end.

        aiohttp tells the ends of chunks only one by one, by a call for each.
        """
        data, is_end = b"", True
        while not data and is_end:  # the end of a chunk that was read, and counted, before it was known
            data, is_end = await content.readchunk()
        self.chunks = is_end + unread_chunks(content)
        self._all_chunks += self.chunks
        if self._all_chunks > FREE_CHUNKS and content.total_bytes < self._all_chunks * LEAST_CHUNK:
            self.excess = f"{self._all_chunks} chunks of {content.total_bytes} bytes together"
        return data + content.read_nowait() if data else b""


def unread_chunks(content: StreamReader) -> int:
    """Return the number of HTTP chunks that have been parsed and not yet read."""
    return len(getattr(content, "_http_chunk_splits", None) or ())


def _require_length(request: web.Request, limit: int) -> int | None:
    """Return the announced length, None for a body in chunks; raises TooLargeError if it is over the limit."""
    length = request.content_length
    if length is not None and length > limit:
        raise TooLargeError(f"{length} bytes, the limit is {limit}")
    return length
