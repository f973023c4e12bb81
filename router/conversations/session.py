"""HTTP exchanges over one aiohttp session: a request is sent once, and its response is read up to a bound.

The only decision made here is whether a request without a response may have reached the API. Redirects are not
followed, cookies not kept, proxies of the environment not used, and no exception holds a credential or the URL.
Authentication: https://www.twilio.com/docs/iam/api-keys
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiohttp import (
    ClientError,
    ClientOSError,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    InvalidURL,
    ServerDisconnectedError,
    ServerTimeoutError,
    TCPConnector,
    TraceConfig,
    encode_basic_auth,
)

from router.conversations.responses import RawResponse
from router.core.errors import ServerError, TransportError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import SimpleNamespace

    from aiohttp import ClientRequest, ClientResponse, TraceRequestHeadersSentParams
    from aiohttp.client_middlewares import ClientHandlerType

#: Bytes of a response that are read; a page of 1,000 participants is well under 1 MiB.
MAX_BODY: Final = 16 * 1024 * 1024
OK: Final = range(200, 300)
#: Errors of aiohttp whose text holds the request's headers, or its URL with ids and addresses.
_REVEALING: Final = (ClientResponseError, ServerTimeoutError, InvalidURL)


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready to be sent; `route` is its path without ids."""

    method: str
    route: str
    url: str = field(repr=False)
    content: bytes | None = field(repr=False)
    is_repeatable: bool
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name of the request in errors."""
        return f"{self.method} {self.route}"


@dataclass(slots=True)
class _Sending:
    """Set by the trace when a request's headers are sent; until then it cannot have had an effect."""

    is_sent: bool = False


class _BrokenError(Exception):
    """A broken connection, hidden from aiohttp, which would otherwise repeat some methods at once and uncounted."""


async def _mark_sent(_session: ClientSession, context: SimpleNamespace, _params: TraceRequestHeadersSentParams) -> None:
    context.trace_request_ctx.is_sent = True


async def _send_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    try:
        return await handler(request)
    except (ClientOSError, ServerDisconnectedError) as error:
        raise _BrokenError from error


class Session:
    """The session with its credentials and connections: opened on first use, closed once."""

    def __init__(self, username: str, password: str, *, connections: int) -> None:
        self._authorization = encode_basic_auth(username, password)
        self._secrets = [text for text in (self._authorization.removeprefix("Basic "), password) if text]
        self._connections = connections
        self._session: ClientSession | None = None
        self.is_closed = False

    def open(self) -> ClientSession:
        """Return the aiohttp session; needs a running loop. Raises TransportError (not sent) once closed."""
        if self.is_closed:
            raise TransportError("the transport is closed", is_sent=False)
        if self._session is None:
            trace = TraceConfig()
            trace.on_request_headers_sent.append(_mark_sent)
            self._session = ClientSession(
                connector=TCPConnector(limit=self._connections),
                cookie_jar=DummyCookieJar(),
                headers={
                    "Authorization": self._authorization,
                    "Accept": "application/json",
                    "User-Agent": "participant-router",
                },
                trace_configs=[trace],
                middlewares=(_send_once,),
            )
        return self._session

    async def close(self) -> None:
        """Close all connections; calls in progress end with TransportError."""
        self.is_closed = True
        if self._session is not None:
            await self._session.close()

    def hide(self, text: str) -> str:
        """Return `text` without the credentials, which a server may have echoed."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    async def exchange(self, request: Request, limit: float) -> RawResponse:
        """Send a request once and read the response, within `limit` seconds. Raises TransportError without one."""
        sending = _Sending()
        try:
            async with self.open().request(
                request.method,
                request.url,
                data=request.content,
                headers=request.headers,
                allow_redirects=False,
                timeout=ClientTimeout(total=limit, ceil_threshold=float("inf")),
                trace_request_ctx=sending,
            ) as response:
                return await _read(request, response)
        except _BrokenError as broken:
            cause = broken.__cause__
        except (ClientError, TimeoutError, OSError) as error:
            cause = error
        is_revealing = isinstance(cause, _REVEALING)
        reason = type(cause).__name__ if is_revealing else self.hide(f"{type(cause).__name__} {cause}".strip())
        text = f"{request.label}: no response, {reason}"
        raise TransportError(text, is_sent=sending.is_sent) from (None if is_revealing else cause)


async def _read(request: Request, response: ClientResponse) -> RawResponse:
    """Read the body up to MAX_BODY; an error's body may be incomplete, because its status alone decides."""
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MAX_BODY:
                response.close()
                break
    except (ClientError, TimeoutError, OSError):
        if response.status in OK:
            raise
    if len(body) > MAX_BODY and response.status in OK:
        raise ServerError(f"{request.label}: the response is over {MAX_BODY} bytes", status=response.status)
    return RawResponse(request.label, response.status, response.headers, bytes(body))
