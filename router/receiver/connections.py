"""Connections to the receiver: their number, the time to send a first request, and the answer to what is not HTTP.

aiohttp limits the length of lines and pipelines, but not what strangers do with connections themselves: open thousands
and send nothing, or one byte a minute. Here a new connection has HEAD_TIMEOUT for its first request, and once the limit
is reached, each new connection closes one that only discards the rest of a refused body, or else the one that has been
idle longest. A webhook takes milliseconds, so that one is idle or hostile; a proxy whose idle connection is closed
opens another.

The rest of a body that is answered before it has arrived is discarded at a pace, for its sender to read the answer. If
it is in chunks, it is not parsed either: aiohttp runs Python code for each of them, and a chunk may be of one byte.

Requests that are not HTTP, or that fail, are answered with a status and no body: aiohttp's own error pages repeat parts
of the request, and Twilio may pass a body on to a customer.
"""

from __future__ import annotations

import asyncio
import resource
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from router import metrics
from router.logs import describe, log
from router.receiver.bodies import FEW_CHUNKS, ReadingPace, unread_chunks
from router.receiver.fast_lane import LaneConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aiohttp.streams import StreamReader

    from router.receiver.fast_lane import FastLane

#: Seconds that a new connection may take to send the head of its first request.
HEAD_TIMEOUT: Final = 20.0
#: Seconds that a connection may be idle between requests: longer than load balancers keep theirs (600), or now and then
#: a webhook would be sent into a connection that is just being closed.
KEEPALIVE: Final = 620.0
#: Seconds for which the rest of a body is still read after its answer, so that its sender can read the answer.
LINGER: Final = 10.0
#: Connections that discard at once, beyond which the first of them is closed: each holds up to 256 KiB meanwhile, and
#: does not see that its caller has gone.
DISCARDING: Final = 128
#: Header lines of a request, and bytes of each: Twilio sends a dozen short ones, proxies add theirs. Together with the
#: number of connections this bounds the memory for incomplete requests.
MAX_HEADERS: Final = 64
MAX_HEADER_SIZE: Final = 4096
#: Bytes in which aiohttp measures its buffer of a body. It stops parsing beyond twice as many, or beyond a 16th as many
#: chunks (512), so that chunks of a byte take a fraction of a millisecond until the reader has counted them.
READ_BUFFER: Final = 8192
#: Files that a process needs besides its connections: Redis, the spool, the log.
_OTHER_FILES: Final = 256


class ConnectionLimit:
    """The open connections of one process, at most `limit`, in the order in which they became idle.

    `pace` is that at which they discard bodies.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._idle: dict[Connection, None] = {}
        self._discarding: dict[Connection, None] = {}
        self.pace = ReadingPace()

    def __len__(self) -> int:
        """Count the open connections."""
        return len(self._idle)

    def add(self, connection: Connection) -> None:
        """Add a connection; at the limit, the first that discards is closed, or else the one that is idle longest."""
        if len(self._idle) >= self._limit:
            self._close(next(iter(self._discarding or self._idle)))
        self._idle[connection] = None

    def touch(self, connection: Connection) -> None:
        """Mark a connection as answered just now."""
        if self._idle.pop(connection, self) is None:
            self._idle[connection] = None

    def note_discarding(self, connection: Connection, *, is_over: bool = False) -> None:
        """Note that a connection discards the rest of a body, or that this is over."""
        if is_over:
            self._discarding.pop(connection, None)
        elif connection in self._idle:
            self._discarding[connection] = None
            if len(self._discarding) > DISCARDING:
                self._close(next(iter(self._discarding)))

    def remove(self, connection: Connection) -> None:
        """Remove a connection that is closed."""
        self._idle.pop(connection, None)
        self._discarding.pop(connection, None)

    def _close(self, connection: Connection) -> None:
        self.remove(connection)
        connection.drop()
        metrics.count("router_connections_closed", "crowd")


class Connection(LaneConnection):
    """One connection: aiohttp's, with a deadline for its first request, and counted by a ConnectionLimit."""

    __slots__ = ("_deadline", "_limit")

    def __init__(
        self,
        manager: web.Server,
        *,
        limit: ConnectionLimit,
        lane: FastLane | None,
        loop: asyncio.AbstractEventLoop,
        **options: Any,
    ) -> None:
        super().__init__(manager, lane=lane, loop=loop, **options)
        self._limit = limit
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the deadline for the first request."""
        super().connection_made(transport)
        self._limit.add(self)
        self._deadline = self._loop.call_later(HEAD_TIMEOUT, self._drop_if_silent)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop counting this connection."""
        self._limit.remove(self)
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def note_answered(self) -> None:
        """From now on the connection is idle."""
        self._limit.touch(self)

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Send the answer; from now on the connection is idle."""
        self.note_answered()
        if isinstance(resp, web.HTTPException):  # aiohttp's own, such as 417: its body is text
            _log_rejected(resp.status, None)
            resp = web.Response(status=resp.status)
        if not request.content.at_eof() and (pause := self._leave_unread(request, resp)):
            return self._finish_late(pause, request, resp, start_time)
        return super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's text, which repeats parts of the request
    ) -> web.StreamResponse:
        """Answer a request that is not HTTP or that failed: with its status only, and one line in the log."""
        _log_rejected(status, exc)
        if request.writer.output_size > 0:  # half an answer has been sent: a second one must not follow
            raise ConnectionError("an answer had begun")
        response = web.Response(status=status)
        response.force_close()
        return response

    def _leave_unread(self, request: web.BaseRequest, resp: web.StreamResponse) -> float:
        """Discard what has not been read; returns the seconds until the answer, for chunks that have been parsed."""
        if not request.content.is_eof():
            self._discard_slowly(request, resp)
        chunks = unread_chunks(request.content)
        return self._limit.pace.delay(0, chunks) if chunks > FEW_CHUNKS else 0.0

    async def _finish_late(
        self, pause: float, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        await asyncio.sleep(pause)
        return await super().finish_response(request, resp, start_time)

    def _discard_slowly(self, request: web.BaseRequest, resp: web.StreamResponse) -> None:
        """Pace the rest of a body that is answered already: aiohttp would read it as fast as it comes.

        In chunks it is not parsed, so nobody knows where it ends, and the connection is closed after it.
        """
        transport: Any = self.transport
        if request.content_length is None:
            resp.force_close()
            self.close()  # from now on `data_received` does nothing
        if transport is None:
            return
        before = transport.get_protocol()
        if isinstance(before, _Discarding):  # it may hold the beginning of what is to be discarded now
            before.body = request.content
        else:
            self._limit.note_discarding(self)
            transport.set_protocol(_Discarding(self, transport, self._limit, request.content))

    def drop(self) -> None:
        """Close at once and discard data that the caller has not read."""
        transport: Any = self.transport  # uvloop's transport has no base class in asyncio
        self.force_close()
        if transport is not None:
            transport.abort()

    def _drop_if_silent(self) -> None:
        if self._request_count == 0:
            metrics.count("router_connections_closed", "silent")
            self.drop()


class _Discarding(asyncio.Protocol):
    """Stands before a connection while the rest of a body is discarded: each piece of it is passed on after a pause.

    Nothing more is read during the pause. Once the body has ended, the connection is as before.
    """

    def __init__(self, connection: Connection, transport: Any, limit: ConnectionLimit, body: StreamReader) -> None:
        self._connection, self._transport, self._limit, self.body = connection, transport, limit, body
        self._held = b""

    def data_received(self, data: bytes) -> None:
        """Hold the data for as long as the pace says."""
        self._transport.pause_reading()
        if not self._held:
            asyncio.get_running_loop().call_later(self._limit.pace.delay(len(data)), self._pass_on)
        self._held += data

    def eof_received(self) -> None:
        """Pass it on, as the events below."""
        self._connection.eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def _pass_on(self) -> None:
        if self._transport.is_closing():
            return
        held, self._held = self._held, b""
        self._connection.data_received(held)
        if self.body.is_eof():
            self._transport.set_protocol(self._connection)
            self._limit.note_discarding(self._connection, is_over=True)
        self._transport.resume_reading()


def _log_rejected(status: int, error: BaseException | None) -> None:
    result, level = ("failed", "error") if status >= HTTPStatus.INTERNAL_SERVER_ERROR else ("http", "warning")
    metrics.count("router_webhooks", "none", str(status), result)
    reason = describe(error) if error is not None else None
    log("webhook", level=level, source="none", status=status, result=result, reason=reason)


def connection_factory(
    server: web.Server, loop: asyncio.AbstractEventLoop, limit: int, lane: FastLane | None = None
) -> Callable[[], Connection]:
    """Return a factory for the connections of a listening socket, at most `limit` at once."""
    shared = ConnectionLimit(limit)

    def make() -> Connection:
        return Connection(
            server,
            limit=shared,
            lane=lane,
            loop=loop,
            access_log=None,
            auto_decompress=False,  # signatures cover the bytes as received, and a compressed bomb stays small
            keepalive_timeout=KEEPALIVE,
            lingering_time=LINGER,
            read_bufsize=READ_BUFFER,
            max_headers=MAX_HEADERS,
            max_field_size=MAX_HEADER_SIZE,
        )

    return make


def allow_files(wanted: int) -> int:
    """Raise this process' limit of open files for `wanted` connections; returns the number that it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - _OTHER_FILES))
