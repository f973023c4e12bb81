"""HTTP exchanges over aiohttp's connections: a request is sent once, and its response is read up to a bound.

aiohttp makes and keeps the connections (names, TLS, their number) and parses the responses. Its session is not used: it
follows redirects, keeps cookies, repeats broken requests, traces, and starts a task for each body, none of which is
wanted here. Gain, by tests.benchmarks.steps: 2,600 of the 24,800 steps of a new customer's message.

The only decision made here is whether a request without a response may have reached the API. Redirects are not
followed, cookies not kept, proxies of the environment not used, and no exception holds a credential or the URL.
Authentication: https://www.twilio.com/docs/iam/api-keys
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiohttp import (
    ClientConnectionResetError,
    ClientError,
    ClientRequest,
    ClientResponseError,
    ClientTimeout,
    InvalidURL,
    ServerTimeoutError,
    TCPConnector,
    encode_basic_auth,
)
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from router.conversations.responses import RawResponse
from router.core.errors import ServerError, TransportError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import StreamReader
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.http import RawResponseMessage

    _Answer = tuple[RawResponseMessage, StreamReader]

#: Bytes of a response that are read; a page of 1,000 participants is well under 1 MiB.
MAX_BODY: Final = 16 * 1024 * 1024
OK: Final = range(200, 300)
#: Errors of aiohttp whose text holds the request's headers, or its URL with ids and addresses.
_REVEALING: Final = (ClientResponseError, ServerTimeoutError, InvalidURL)
#: Statuses that come before the response: https://www.rfc-editor.org/rfc/rfc9110#section-15.2
_INTERIM: Final = frozenset({100, *range(102, 200)})
#: Methods whose request tells the length of its body although it has none.
_WITH_LENGTH: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


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
    """The state of an exchange: once `is_sent` the request may have had an effect."""

    is_sent: bool = False
    protocol: ResponseHandler | None = None
    payload: StreamReader | None = None

    def expire(self) -> None:
        """End the wait for the response, or for the rest of it."""
        for waiting in (self.protocol, self.payload):
            if waiting is not None:
                waiting.set_exception(TimeoutError())


class _Origin:
    """The API's origin: its connections, and the part of a request's head that is always the same."""

    def __init__(self, url: URL, headers: Mapping[str, str]) -> None:
        self.template = ClientRequest("GET", url.origin(), headers=headers, loop=asyncio.get_running_loop())
        lines = [f"{name}: {value}\r\n" for name, value in self.template.headers.items()]
        self.head = " HTTP/1.1\r\n" + "".join(lines)

    def write(self, request: Request, url: URL) -> bytes:
        """Return the bytes of a request. Raises ValueError for a header that would not be one line."""
        content, head = request.content or b"", f"{request.method} {url.raw_path_qs}{self.head}"
        for name, value in request.headers.items():
            if not (name + value).isprintable():
                raise ValueError("a header must be one line")
            head += f"{name}: {value}\r\n"
        if content or request.method in _WITH_LENGTH:
            head += f"Content-Length: {len(content)}\r\n"
        return f"{head}\r\n".encode() + content


class Session:
    """The connections with their credentials: opened on first use, closed once."""

    def __init__(self, username: str, password: str, *, connections: int) -> None:
        self._authorization = encode_basic_auth(username, password)
        self._secrets = [text for text in (self._authorization.removeprefix("Basic "), password) if text]
        self._connections = connections
        self._session: TCPConnector | None = None
        self._origins: dict[URL, _Origin] = {}  # one, which all requests of a transport share
        self._timeout = ClientTimeout()
        self.is_closed = False

    def open(self) -> TCPConnector:
        """Return the connections; needs a running loop. Raises TransportError (not sent) once closed."""
        if self.is_closed:
            raise TransportError("the transport is closed", is_sent=False)
        if self._session is None:
            self._session = TCPConnector(limit=self._connections)
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
            return await self._exchange(request, limit, sending)
        except (ClientError, TimeoutError, OSError) as error:
            cause = error
        is_revealing = isinstance(cause, _REVEALING)
        reason = type(cause).__name__ if is_revealing else self.hide(f"{type(cause).__name__} {cause}".strip())
        text = f"{request.label}: no response, {reason}"
        raise TransportError(text, is_sent=sending.is_sent) from (None if is_revealing else cause)

    async def _exchange(self, request: Request, limit: float, sending: _Sending) -> RawResponse:
        connector, loop = self.open(), asyncio.get_running_loop()
        ends_at, url = loop.time() + limit, URL(request.url)
        origin = self._origin(url)
        wire = origin.write(request, url)
        if self._timeout.connect != limit:  # it is nearly always the same
            self._timeout = ClientTimeout(connect=limit, ceil_threshold=float("inf"))
        connection = await connector.connect(origin.template, [], self._timeout)
        timer = loop.call_at(ends_at, sending.expire)
        try:
            message, payload = await _send(connection, request, wire, sending)
            response = await _read(request, message, payload)
        except HttpProcessingError as error:
            connection.close()
            raise ClientResponseError(origin.template.request_info, (), status=error.code) from error
        except BaseException:
            connection.close()
            raise
        else:
            connection.release()  # which closes it unless another response may follow
            return response
        finally:
            timer.cancel()

    def _origin(self, url: URL) -> _Origin:
        key = url.origin()
        if key not in self._origins:
            headers = {
                "Authorization": self._authorization,
                "Accept": "application/json",
                "User-Agent": "participant-router",
            }
            self._origins = {key: _Origin(url, headers)}
        return self._origins[key]


async def _send(connection: Connection, request: Request, wire: bytes, sending: _Sending) -> _Answer:
    """Write a request; return the head of its response and what its body is read from."""
    protocol = sending.protocol = connection.protocol
    if protocol is None or protocol.transport is None or protocol.transport.is_closing():
        raise ClientConnectionResetError("Cannot write to closing transport")
    protocol.set_response_params(skip_payload=request.method == "HEAD", read_until_eof=True)
    sending.is_sent = True
    protocol.transport.write(wire)
    while True:
        message, sending.payload = await protocol.read()
        if message.code not in _INTERIM:
            return message, sending.payload


async def _read(request: Request, message: RawResponseMessage, payload: StreamReader) -> RawResponse:
    """Read the body up to MAX_BODY; an error's body may be incomplete, because its status alone decides."""
    body = bytearray()
    try:
        if payload.is_eof():  # nearly always: it came with the head
            body += payload.read_nowait()
        while not payload.at_eof() and len(body) <= MAX_BODY:
            body += await payload.readany()
    except (ClientError, TimeoutError, OSError):
        if message.code in OK:
            raise
    if len(body) > MAX_BODY and message.code in OK:
        raise ServerError(f"{request.label}: the response is over {MAX_BODY} bytes", status=message.code)
    return RawResponse(request.label, message.code, message.headers, bytes(body))
