"""Connections to the receiver: how many there may be, how long one may take to ask, and what is said to nonsense.

aiohttp bounds lines and pipelines, and leaves to its users what strangers do with connections themselves: open
thousands and send nothing, or a byte a minute. So a new connection has HEAD_TIMEOUT for its first request, and
where there are as many as may be, the one that has waited longest makes room for a new one: a webhook is over in
milliseconds, whoever is still there is idle or means harm. A proxy whose idle connection is closed opens another.

What is no HTTP, or fails on the way, is answered with its status and nothing else: aiohttp's own words repeat what
came in, and a body may go on to a customer.
"""

from __future__ import annotations

import resource
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from router import metrics
from router.logs import describe, log

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

#: Seconds that a new connection may take to send the head of its first request.
HEAD_TIMEOUT: Final = 20.0
#: Seconds that a connection may be idle between requests: longer than load balancers keep theirs (600), or a webhook
#: would now and then be sent into a connection that is just being closed.
KEEPALIVE: Final = 620.0
#: Seconds that the rest of a body may still come after its answer, so that its sender gets to read it.
LINGER: Final = 10.0
#: Header lines of a request, and bytes of one: Twilio sends a dozen short ones, proxies add theirs. With the number of
#: connections this bounds what heads under way can take.
MAX_HEADERS: Final = 64
MAX_HEADER_SIZE: Final = 4096
#: Files that a process needs besides its connections: Redis, the spool, the log.
_OTHER_FILES: Final = 256


class ConnectionLimit:
    """The connections of one process; at most `limit`, the one that has waited longest first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[Connection, None] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._waiting)

    def enter(self, connection: Connection) -> None:
        """Let a connection in; where there is no room another one is closed for it."""
        if len(self._waiting) >= self._limit:
            oldest = next(iter(self._waiting))
            self.leave(oldest)
            oldest.drop()
            metrics.count("router_connections_closed", "crowd")
        self._waiting[connection] = None

    def touch(self, connection: Connection) -> None:
        """Take note that a connection gets an answer: it waits anew."""
        if self._waiting.pop(connection, self) is None:
            self._waiting[connection] = None

    def leave(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._waiting.pop(connection, None)


class Connection(web.RequestHandler):
    """One connection: aiohttp's, with a deadline for the first request and a place in the crowd."""

    __slots__ = ("_crowd", "_deadline")

    def __init__(
        self, manager: web.Server, *, crowd: ConnectionLimit, loop: asyncio.AbstractEventLoop, **options: Any
    ) -> None:
        super().__init__(manager, loop=loop, **options)
        self._crowd = crowd
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._crowd.enter(self)
        self._deadline = self._loop.call_later(HEAD_TIMEOUT, self._end_if_silent)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Make room."""
        self._crowd.leave(self)
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Send the answer; whoever gets one is not among those who have waited longest."""
        self._crowd.touch(self)
        if isinstance(resp, web.HTTPException):  # aiohttp's own, such as 417: with words in its body
            _tell(resp.status, None)
            resp = web.Response(status=resp.status)
        return super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's words, which repeat what came in
    ) -> web.StreamResponse:
        """Return the answer to what is no HTTP, or what failed: its status, and one line in the log."""
        _tell(status, exc)
        if request.writer.output_size > 0:  # half an answer is on its way: no second one may follow it
            raise ConnectionError("an answer had begun")
        response = web.Response(status=status)
        response.force_close()
        return response

    def drop(self) -> None:
        """Close it at once, with what its other side does not read."""
        transport: Any = self.transport  # uvloop's is of none of asyncio's classes
        self.force_close()
        if transport is not None:
            transport.abort()

    def _end_if_silent(self) -> None:
        if self._request_count == 0:
            metrics.count("router_connections_closed", "silent")
            self.drop()


def _tell(status: int, error: BaseException | None) -> None:
    result, level = ("failed", "error") if status >= HTTPStatus.INTERNAL_SERVER_ERROR else ("http", "warning")
    metrics.count("router_webhooks", "none", str(status), result)
    reason = describe(error) if error is not None else None
    log("webhook", level=level, source="none", status=status, result=result, reason=reason)


def connections(server: web.Server, loop: asyncio.AbstractEventLoop, limit: int) -> Callable[[], Connection]:
    """Return what makes the connections of a listening socket."""
    crowd = ConnectionLimit(limit)

    def make() -> Connection:
        return Connection(
            server,
            crowd=crowd,
            loop=loop,
            access_log=None,
            auto_decompress=False,  # signatures are over the bytes as they came, and nobody can send a bomb
            keepalive_timeout=KEEPALIVE,
            lingering_time=LINGER,
            max_headers=MAX_HEADERS,
            max_field_size=MAX_HEADER_SIZE,
        )

    return make


def allow_files(wanted: int) -> int:
    """Raise this process' limit of open files as far as `wanted` connections need it; returns how many there may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - _OTHER_FILES))
