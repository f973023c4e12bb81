"""One exchange: the request that is sent, when it counts as sent, and what an exception may hold."""

import asyncio
import gzip
import socket
import traceback

import pytest
from aiohttp import ClientSession, encode_basic_auth
from aiohttp.test_utils import unused_port
from yarl import URL

from router.conversations import session as module
from router.conversations.session import Request, Session
from router.core.errors import ConflictError, RateLimitError, ServerError, TransportError
from tests.support.accounts import KEY, SECRET
from tests.support.waiting import deadline, until

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


REQUESTS = [
    ("GET", "/v2/Conversations/a%2Fb%20c?status=ACTIVE&status=INACTIVE", None, {}),
    ("POST", "/v2/Conversations", b'{"name":"\xc3\xa9"}', {"Content-Type": "application/json"}),
    ("PUT", "/v2/Conversations/x", b"{}", {"Content-Type": "application/json"}),
    ("DELETE", "/v1/Services/IS/Conversations/CH", None, {"X-Twilio-Webhook-Enabled": "true"}),
    ("POST", "/v1/Conversations", b"a=%2B1", {"Content-Type": "application/x-www-form-urlencoded"}),
]


@pytest.mark.parametrize("sent", REQUESTS, ids=[f"{request[0]} {request[1][:20]}" for request in REQUESTS])
async def test_a_request_is_sent_as_aiohttp_sends_it(raw_server, sent):
    """The same request line, the same headers, the same body."""
    arrived = asyncio.Queue()

    async def keep(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        line, *headers = head.decode().split("\r\n")[:-2]
        length = next((int(one.split()[1]) for one in headers if one.startswith("Content-Length")), 0)
        await arrived.put((line, sorted(headers), await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    method, path, content, headers = sent
    url = f"{await raw_server(keep)}{path}"
    ours = Session(KEY, SECRET, connections=1)
    response = await ours.exchange(Request(method, "route", url, content, False, headers), 10.0)
    await ours.close()
    assert (response.status, response.body) == (204, b"")
    common = {"Authorization": encode_basic_auth(KEY, SECRET), "Accept": "application/json"}
    async with ClientSession(headers={**common, "User-Agent": "participant-router"}) as theirs:
        await theirs.request(method, URL(url, encoded=True), data=content, headers=headers)
    assert await arrived.get() == await arrived.get()


@pytest.mark.parametrize(
    "parts",
    [
        [
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        ],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"1\r\n}\r\n0\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 22\r\n\r\n", gzip.compress(b"{}", mtime=0)],
        [b"HTTP/1.0 200 OK\r\n\r\n{", b"}"],
        [b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 2\r\nConnection: close\r\n\r\n{", b"}"],
    ],
    ids=["interim", "chunked", "compressed", "until the end", "in pieces"],
)
async def test_every_form_of_a_response_is_read(connect, raw_server, parts):
    """Interim responses, chunks, compression, a body until the connection ends, and parts that arrive one by one."""

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    assert (await connect(await raw_server(answer)).request("GET", PATH)).data == {}


async def test_a_switch_to_another_protocol_is_no_response(connect, raw_server):
    """Nothing was asked for but HTTP: a 101 is an error of the API, and its connection is not kept."""
    seen = []

    async def answer(reader, writer):
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
        await writer.drain()
        assert await reader.read() == b""
        writer.close()

    transport = connect(await raw_server(answer), retries=0)
    for _ in range(2):
        with pytest.raises(ServerError) as caught:
            await transport.request("GET", PATH)
        assert caught.value.status == 101
    assert len(seen) == 2


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"HTTP/1.0 200 OK\r\n\r\n{"])
async def test_a_response_that_does_not_end(connect, raw_server, head):
    """The limit is for all of the response, and the connection is closed: its rest is nobody's response."""
    ended = asyncio.Event()

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        await reader.read()
        ended.set()
        writer.close()

    transport = connect(await raw_server(answer), retries=0, timeout=0.05)
    with pytest.raises(TransportError, match="TimeoutError") as caught:
        await transport.request("POST", PATH, body={})
    assert caught.value.is_sent
    async with deadline(10):
        await ended.wait()


async def test_a_canceled_call_closes_its_connection(api, transport):
    """Its response may come later, and must not be taken for that of the next request."""
    api.hang().reply(200, {"id": "second"})
    task = asyncio.create_task(transport.request("GET", PATH))
    await until(lambda: api.seen)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await transport.request("GET", PATH)).data == {"id": "second"}
    assert len(api.connections) == 2


@pytest.mark.parametrize("value", ["a\r\nX-Other: b", "a\nb", "a\0b"])
async def test_a_header_of_several_lines_is_refused(api, transport, value):
    """Nothing is sent: what a header says must not become another one."""
    with pytest.raises(ValueError, match="one line"):
        await transport.request("GET", PATH, headers={"X-One": value})
    assert not api.seen
