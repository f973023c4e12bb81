"""One exchange: the request that is sent, when it counts as sent, and what an exception may hold."""

import asyncio
import socket
import traceback

import pytest
from aiohttp.test_utils import unused_port

from router.conversations import session as module
from router.core.errors import ConflictError, RateLimitError, ServerError, TransportError

PATH = "/v2/Conversations"


async def test_headers(api, transport, secrets):
    """Requests have Basic authentication and JSON; without a body they have no content type."""
    api.reply().reply()
    await transport.request("POST", PATH, body={"name": "é"})
    await transport.request("GET", PATH)
    post, get = api.seen
    assert post.headers["Authorization"] == get.headers["Authorization"] == f"Basic {secrets[1]}"
    assert post.headers["Accept"] == get.headers["Accept"] == "application/json"
    assert post.headers["Content-Type"] == "application/json"
    assert "Content-Type" not in get.headers
    assert post.body == {"name": "é"}


async def test_connection_is_kept(api, transport):
    """Successive calls share one connection."""
    api.reply(times=20)
    for _ in range(20):
        await transport.request("GET", PATH)
    assert len(api.connections) == 1


async def test_number_of_connections(api, connect):
    """Concurrent calls use no more connections than may be in flight."""
    transport = connect(api.base_url, max_in_flight=3)
    api.reply(times=30)
    await asyncio.gather(*(transport.request("GET", PATH) for _ in range(30)))
    assert 1 <= len(api.connections) <= 3
    assert transport.limiter.in_flight == 0


async def test_redirects_are_not_followed(api, transport):
    """A redirect, which would send the credentials elsewhere, is a ServerError."""
    api.reply(307, headers={"Location": f"{api.base_url}/elsewhere"})
    with pytest.raises(ServerError) as caught:
        await transport.request("GET", PATH)
    assert caught.value.status == 307
    assert len(api.seen) == 1


async def test_cookies_are_not_kept(api, transport):
    """The API has no sessions; a cookie from something in between is dropped."""
    api.reply(headers={"Set-Cookie": "a=b; Path=/"}).reply()
    await transport.request("GET", PATH)
    await transport.request("GET", PATH)
    assert "Cookie" not in api.seen[1].headers


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "PATCH", "DELETE"])
async def test_aiohttp_repeats_nothing_by_itself(api, connect, method):
    """aiohttp would repeat broken idempotent requests; here only the retry policy repeats."""
    transport = connect(api.base_url, retries=0)
    api.reset().reply()
    with pytest.raises(TransportError) as caught:
        await transport.request(method, PATH)
    assert caught.value.is_sent
    assert len(api.seen) == 1


async def test_reset_before_the_request_was_read(connect, raw_server):
    """A POST on a connection that was aborted without reading may have arrived and is not repeated."""
    accepted = []

    async def cut(_reader, writer):
        accepted.append(writer)
        writer.transport.abort()

    transport = connect(await raw_server(cut))
    with pytest.raises(TransportError) as caught:
        await transport.request("POST", PATH, body={})
    assert caught.value.is_sent
    assert len(accepted) == 1


async def test_post_on_a_stale_connection(api, transport):
    """A POST on a kept connection that the server aborts at that moment is not repeated."""
    api.reply().reset()
    await transport.request("GET", PATH)
    with pytest.raises(TransportError) as caught:
        await transport.request("POST", PATH, body={})
    assert caught.value.is_sent
    assert [each.method for each in api.seen] == ["GET", "POST"]


async def test_connection_refused(connect, time):
    """A refused connection had no effect: even a POST is repeated, and the error says that it was not sent."""
    transport = connect(f"http://127.0.0.1:{unused_port()}")
    with pytest.raises(TransportError, match="no response, ClientConnectorError") as caught:
        await transport.request("POST", PATH, body={})
    assert not caught.value.is_sent
    assert time.slept == [0.25, 0.5, 1.0, 2.0]


async def test_unknown_host(connect, monkeypatch):
    """A host name that does not resolve means that nothing was sent."""

    async def fail(*_args, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
    with pytest.raises(TransportError) as caught:
        await connect("http://api.invalid", retries=0).request("POST", PATH, body={})
    assert not caught.value.is_sent


async def test_timeout_while_connecting(connect, monkeypatch):
    """A timeout before the connection is made means that nothing was sent."""

    async def hang(*_args, **_options):
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hang)
    transport = connect("http://api.invalid", retries=0, timeout=0.01)
    with pytest.raises(TransportError, match="TimeoutError") as caught:
        await transport.request("POST", PATH, body={})
    assert not caught.value.is_sent


async def test_timeout_of_the_response(api, connect):
    """A timeout without a response is a TransportError, and the POST was sent once."""
    api.hang()
    with pytest.raises(TransportError, match="TimeoutError") as caught:
        await connect(api.base_url, timeout=0.05).request("POST", PATH, body={})
    assert caught.value.is_sent
    assert len(api.seen) == 1


async def test_incomplete_success(api, transport):
    """A 2xx with an incomplete body is a TransportError."""
    api.cut(201)
    with pytest.raises(TransportError) as caught:
        await transport.request("POST", PATH, body={})
    assert caught.value.is_sent
    assert len(api.seen) == 1


async def test_incomplete_error(api, connect):
    """An error with an incomplete body has the exception of its status and headers."""
    transport = connect(api.base_url, retries=0)
    api.cut(409, headers={"X-Conflicting-Resource-Id": "x"}).cut(429)
    with pytest.raises(ConflictError) as caught:
        await transport.request("POST", PATH, body={})
    assert caught.value.conflicting_id == "x"
    with pytest.raises(RateLimitError):
        await transport.request("POST", PATH, body={})


async def test_not_http(connect, raw_server, secrets):
    """A response that is not HTTP is a TransportError, and the exception chain holds no credentials."""

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-what\r\n\r\n")
        await writer.drain()
        writer.close()

    transport = connect(await raw_server(answer), retries=0)
    with pytest.raises(TransportError, match="no response") as caught:
        await transport.request("GET", PATH)
    assert_no_secret(caught.value, secrets)


async def test_body_too_large(api, connect, monkeypatch):
    """Reading stops at the bound: a 2xx is refused, an error keeps its class."""
    monkeypatch.setattr(module, "MAX_BODY", 100)
    transport = connect(api.base_url, retries=0)
    api.reply(200, {"x": "y" * 200}).reply(404, {"message": "y" * 200})
    with pytest.raises(ServerError, match="over 100 bytes"):
        await transport.request("GET", PATH)
    with pytest.raises(Exception, match="HTTP 404"):
        await transport.request("GET", PATH)


def assert_no_secret(error, secrets):
    """Check texts, reprs and attributes of the whole exception chain, and its traceback."""
    texts = ["".join(traceback.format_exception(error))]
    while error is not None:
        texts += [str(error), repr(error), repr(vars(error))]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    for secret in secrets:
        assert not any(secret in text for text in texts)


@pytest.mark.parametrize("status", [200, 400, 401, 409, 500])
async def test_echoed_credentials(api, connect, secrets, status):
    """Credentials that a server echoes are in no exception."""
    echo = f"Authorization: Basic {secrets[1]} is {secrets[0]}"
    raw = echo.encode() if status == 200 else None
    api.reply(status, {"code": 1, "message": echo}, raw=raw)
    with pytest.raises(Exception, match=f"HTTP {status}") as caught:
        await connect(api.base_url, retries=0).request("POST", PATH, body={})
    assert_no_secret(caught.value, secrets)


@pytest.mark.parametrize("step", ["reset", "cut", "hang"])
async def test_no_credentials_in_failures(api, connect, secrets, step):
    """Credentials are in no exception of a failed connection, and not in the transport's repr."""
    getattr(api, step)()
    transport = connect(api.base_url, retries=0, timeout=0.05)
    with pytest.raises(TransportError) as caught:
        await transport.request("POST", PATH, body={})
    assert_no_secret(caught.value, secrets)
    assert not any(secret in repr(transport) for secret in secrets)


async def test_no_query_in_failures(api, connect):
    """An address in a query is not in the text of an exception."""
    number = "15550100001"
    api.reset()
    with pytest.raises(TransportError) as caught:
        await connect(api.base_url, retries=0).request("GET", PATH, query={"Address": number})
    assert number in api.seen[0].target
    assert number not in "".join(traceback.format_exception(caught.value))
