"""Attacks on a receiver that runs as a real process: requests that no HTTP client makes.

Each shape of request has exactly one correct answer, so a version of aiohttp that reads one differently fails here. No
answer repeats anything that the attacker sent, or has a status outside the contract.
"""

import gzip
from contextlib import AsyncExitStack
from dataclasses import replace

import orjson
import pytest

from router.receiver.connections import allow_files
from tests.receiver.attacked import CONTRACT, attacked
from tests.receiver.samples import mail_received, participant_added, signed, sms
from tests.support.raw_http import dial, framed, on_wire
from tests.support.waiting import until

pytestmark = pytest.mark.processes

GENUINE = signed(sms())
PATH, BODY, HEADERS = GENUINE.path.encode(), GENUINE.body, GENUINE.headers()
LENGTH = f"Content-Length: {len(BODY)}"
CHUNKED = "Transfer-Encoding: chunked"
END = b"0\r\n\r\n"


def to(path: bytes) -> bytes:
    """Return a genuine request with another path."""
    return framed(path, BODY, HEADERS, LENGTH)


def headed(**headers: str) -> bytes:
    """Return a genuine request with further headers."""
    return framed(PATH, BODY, HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}, LENGTH)


def cut(*framing: str, body: bytes = BODY, version: str = "HTTP/1.1") -> bytes:
    """Return a genuine request with another framing of its body."""
    return framed(PATH, body, HEADERS, *framing, version=version)


GOOD = to(PATH)
#: name: the bytes, and the statuses of the answers.
SHAPES: dict[str, tuple[bytes, list[int]]] = {
    "as Twilio sends it": (GOOD, [200]),
    # URLs: another spelling is a different URL, or invalid
    "absolute form": (to(b"http://evil.example.com" + PATH), [403]),
    "absolute form of our own": (to(b"https://hooks.example.com" + PATH), [403]),
    "encoded slash": (to(b"/webhooks%2Fmessaging"), [404]),
    "dot segments": (to(b"/x/../webhooks/messaging"), [404]),
    "encoded dot segments": (to(b"/x/%2e%2e/webhooks/messaging"), [404]),
    "double slashes": (to(b"//webhooks//messaging"), [404]),
    "slash at the end": (to(b"/webhooks/messaging/"), [404]),
    "encoded letter": (to(b"/webhooks/m%65ssaging"), [403]),
    "other case": (to(b"/Webhooks/Messaging"), [404]),
    "NUL": (to(b"/webhooks/messaging\0"), [400]),
    "encoded NUL": (to(b"/webhooks/messaging%00"), [404]),
    "encoded line end": (to(b"/webhooks/messaging%0d%0aX:%20y"), [404]),
    "not UTF-8": (to(b"/webhooks/\xff\xfe"), [400]),
    "query that is not UTF-8": (to(b"/webhooks/messaging?\xff\xfe"), [400]),
    "query that was not signed": (to(b"/webhooks/messaging?a=1&a=2"), [403]),
    "path parameter": (to(b"/webhooks/messaging;x=1"), [404]),
    "fragment": (to(b"/webhooks/messaging#x"), [403]),
    "long query": (to(b"/webhooks/messaging?" + b"a" * 7000), [403]),
    "endless query": (to(b"/webhooks/messaging?" + b"a" * 9000), [400]),
    "asterisk": (to(b"*"), [400]),
    "no path": (to(b""), [400]),
    "authority": (to(b"evil.example.com:80"), [400]),
    "port beyond all": (to(b"http://h:99999999/webhooks/messaging"), [400]),
    "half an IPv6 address": (to(b"http://[::1/webhooks/messaging"), [400]),
    # headers
    "flood of headers": (headed(**{f"X_{number}": "a" for number in range(200)}), [400]),
    "long header": (headed(X="a" * 5000), [400]),
    "flood of long headers": (headed(**{f"X_{number}": "a" * 4000 for number in range(100)}), [400]),
    "folded header": (cut(LENGTH, "X: a\r\n b"), [400]),
    "blank before the colon": (cut(LENGTH, "X : a"), [400]),
    "no colon": (cut(LENGTH, "Xabc"), [400]),
    "bare line feeds": (GOOD.replace(b"\r\n", b"\n", 3), [400]),
    "bare carriage return": (cut(LENGTH, "X: a\rb"), [400]),
    "NUL in a header": (cut(LENGTH, "X: a\0b"), [400]),
    "no host": (GOOD.replace(b"Host: x\r\n", b""), [400]),
    "two hosts": (cut(LENGTH, "Host: y"), [400]),
    "unknown expectation": (headed(Expect="<script>alert(1)</script>"), [417]),
    "upgrade": (headed(Upgrade="websocket", Connection="Upgrade"), [200]),
    "upgrade to HTTP/2": (headed(Upgrade="h2c", Connection="Upgrade, HTTP2-Settings", HTTP2_Settings="AAA"), [200]),
    # the end of a request: everything that two parsers could read differently
    "length and chunks": (cut(LENGTH, CHUNKED, body=END + b"POST /x HTTP/1.1\r\nHost: y\r\n\r\n"), [400]),
    "chunks and length": (cut(CHUNKED, LENGTH, body=END), [400]),
    "two lengths": (cut(LENGTH, "Content-Length: 5"), [400]),
    "one length twice": (cut(LENGTH, LENGTH), [400]),
    "list of lengths": (cut(f"Content-Length: {len(BODY)}, {len(BODY)}"), [400]),
    "signed length": (cut(f"Content-Length: +{len(BODY)}"), [400]),
    "negative length": (cut("Content-Length: -1"), [400]),
    "hexadecimal length": (cut("Content-Length: 0x10"), [400]),
    "length beyond all numbers": (cut("Content-Length: 99999999999999999999999"), [400]),
    "length over the limit": (cut("Content-Length: 9999999999", body=b""), [413]),
    "identity": (cut("Transfer-Encoding: identity"), [400]),
    "chunked twice": (cut(CHUNKED, CHUNKED), [400]),
    "packed chunks": (cut("Transfer-Encoding: gzip, chunked"), [400]),
    "unknown transfer": (cut("Transfer-Encoding: xchunked"), [400]),
    "chunks in HTTP/1.0": (cut(CHUNKED, body=END, version="HTTP/1.0"), [403]),
    "chunk beyond all numbers": (cut(CHUNKED, body=b"FFFFFFFFFFFFFFFFF\r\nabc"), [400]),
    "negative chunk": (cut(CHUNKED, body=b"-1\r\nabc"), [400]),
    "endless chunk extension": (cut(CHUNKED, body=b"5;" + b"x" * 20_000 + b"\r\nabcde\r\n" + END), [403]),
    "flood of trailers": (cut(CHUNKED, body=b"5\r\nabcde\r\n0\r\n" + b"A: b\r\n" * 300 + b"\r\n"), [400]),
    # unexpected requests, and data that is not HTTP
    "HTTP/1.0": (cut(LENGTH, version="HTTP/1.0"), [200]),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    "HTTP/9.9": (cut(LENGTH, version="HTTP/9.9"), [400]),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50), [400]),
    "junk": (bytes(range(256)) * 4 + b"\r\n\r\n", [400]),
    "unknown method": (b"FOO " + GOOD[5:], [400]),
    "CONNECT": (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", [404]),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: x\r\nX-Secret: abc\r\n\r\n", [404]),
    "endless method": (b"A" * 9000 + GOOD[4:], [400]),
    "method in lower case": (b"post" + GOOD[4:], [400]),
    "pipeline": (GOOD * 50, [200] * 50),
    "junk behind a request": (GOOD + b"GARBAGE\r\n\r\n", [400]),
}


@pytest.fixture(scope="module")
def receiver(tmp_path_factory, redis_url):
    """One receiver for all attacks: afterwards it must still end cleanly."""
    with attacked(tmp_path_factory.mktemp("attacked"), redis_url) as running:
        yield running


@pytest.mark.parametrize("name", SHAPES)
async def test_shape_of_request(receiver, redis, name):
    """It gets its one answer, without a body unless it is accepted, and the receiver stays ready."""
    data, expected = SHAPES[name]
    async with on_wire(receiver.port) as wire:
        await wire.send(data)
        answers = [await wire.answer() for _ in expected]
    assert [answer and answer.status for answer in answers] == expected
    assert all(answer.status == 200 or answer.body == b"" for answer in answers)
    assert set(expected) <= CONTRACT
    assert await receiver.is_ready()


async def test_nothing_is_unpacked(receiver, redis):
    """A signed gzip bomb of ten megabytes takes ten kilobytes and is not JSON."""
    bomb = gzip.compress(b"[" * 10_000_000)
    packed = signed(replace(participant_added(), body=bomb))
    headers = packed.headers() | {"Content-Encoding": "gzip"}
    before = receiver.memory
    async with on_wire(receiver.port) as wire:
        await wire.send(framed(packed.path.encode(), bomb, headers, f"Content-Length: {len(bomb)}"))
        assert (await wire.answer()).status == 400
    assert receiver.memory - before < 5_000_000


async def test_mail_of_very_many_parts(receiver, redis):
    """A forged mail of 200,000 parts is hashed to its end but not parsed to its end, so it takes little memory."""
    part = b"--b\r\nContent-Disposition: form-data; name=text\r\n\r\n\r\n"
    body = part * 200_000 + b"--b--\r\n"
    headers = signed(mail_received()).headers() | {"Content-Type": "multipart/form-data; boundary=b"}
    before = receiver.memory
    async with on_wire(receiver.port) as wire:
        await wire.send(framed(b"/webhooks/email", body, headers, f"Content-Length: {len(body)}"))
        assert (await wire.answer()).status == 403
    assert receiver.memory - before < 20_000_000


async def test_pipeline_that_is_never_read(receiver, redis):
    """A caller that sends requests and never reads cannot fill the memory: reading stops when answers do."""
    requests = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100
    before = receiver.memory
    async with on_wire(receiver.port) as wire:
        for _ in range(200):
            wire.writer.write(requests)
        assert await receiver.accepts(1)
        assert receiver.memory - before < 30_000_000


async def test_thousands_of_idle_connections(receiver, redis):
    """Their number is limited, genuine webhooks are answered all the while, and memory is bounded."""
    number = allow_files(2500)
    before, half = receiver.memory, GOOD[:100]
    async with AsyncExitStack() as stack:
        for index in range(number):
            wire = await dial(receiver.port)
            stack.push_async_callback(wire.close)
            await wire.send(half if index % 2 else b"")
            if index % 500 == 0:
                assert await receiver.accepts(index)
        assert await receiver.accepts(number)
        assert await receiver.is_ready()
        assert receiver.memory - before < 150_000_000
        closed = await count_closed(receiver)
        assert closed >= number - 2048
    await until(receiver.is_ready)


async def count_closed(receiver):
    """Number of connections that the receiver has closed at its limit."""
    async with on_wire(receiver.port) as wire:
        await wire.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        text = (await wire.answer()).body.decode()
    lines = [line for line in text.splitlines() if line.startswith('router_connections_closed_total{why="crowd"}')]
    return float(lines[0].rpartition(" ")[2]) if lines else 0


async def test_nothing_the_attacker_chose_is_a_label(receiver, redis):
    """The labels of the webhook metrics are fixed words, whatever was sent."""
    async with on_wire(receiver.port) as wire:
        await wire.send(b"<x>BREW /" + b"y" * 300 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        await wire.answer()
    async with on_wire(receiver.port) as wire:
        await wire.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        text = (await wire.answer()).body.decode()
    series = [line for line in text.splitlines() if line.startswith("router_webhooks_total{")]
    assert 0 < len(series) < 60
    assert all(len(line) < 120 for line in series)


async def test_every_rejected_request_has_a_line(receiver, redis):
    """Data that is not HTTP is logged once, with the kind of error and nothing of the data."""
    before = len(receiver.lines)
    async with on_wire(receiver.port) as wire:
        await wire.send(b'GET /forged\r\n{"event":"x"}\r\n\r\n')
        assert (await wire.answer()).status == 400
    (line,) = (await until(lambda: receiver.lines[before:]))[:1]
    assert (line["event"], line["source"], line["status"], line["result"]) == ("webhook", "none", 400, "http")
    assert "forged" not in orjson.dumps(line).decode()
