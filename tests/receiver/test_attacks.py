"""The door under attack: requests as no client makes them, to a receiver as it really runs.

Each shape has the one answer that is right: a shape that aiohttp read otherwise in a later version would be seen here.
No answer has a word in it that the attacker has sent, or any other but those of the contract.
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

HONEST = signed(sms())
PATH, BODY, HEADERS = HONEST.path.encode(), HONEST.body, HONEST.headers()
LENGTH = f"Content-Length: {len(BODY)}"
CHUNKED = "Transfer-Encoding: chunked"
END = b"0\r\n\r\n"


def to(path: bytes) -> bytes:
    """Return an honest request, but for its path."""
    return framed(path, BODY, HEADERS, LENGTH)


def headed(**headers: str) -> bytes:
    """Return an honest request with further headers."""
    return framed(PATH, BODY, HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}, LENGTH)


def cut(*framing: str, body: bytes = BODY, version: str = "HTTP/1.1") -> bytes:
    """Return an honest request, but for where its body ends."""
    return framed(PATH, body, HEADERS, *framing, version=version)


GOOD = to(PATH)
#: name: the bytes, and the statuses of the answers.
SHAPES: dict[str, tuple[bytes, list[int]]] = {
    "as Twilio sends it": (GOOD, [200]),
    # URLs: another spelling is another URL, or none
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
    # where a request ends: whatever two readers could read differently
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
    # what is no request of ours, or no HTTP at all
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
def door(tmp_path_factory, redis_url):
    """One receiver for all attacks: whatever they did to it, it ends cleanly."""
    with attacked(tmp_path_factory.mktemp("attacked"), redis_url) as running:
        yield running


@pytest.mark.parametrize("name", SHAPES)
async def test_shape_of_request(door, redis, name):
    """It has its one answer, and no body but TwiML; the receiver goes on."""
    data, expected = SHAPES[name]
    async with on_wire(door.port) as wire:
        await wire.send(data)
        answers = [await wire.answer() for _ in expected]
    assert [answer and answer.status for answer in answers] == expected
    assert all(answer.status == 200 or answer.body == b"" for answer in answers)
    assert set(expected) <= CONTRACT
    assert await door.is_ready()


async def test_nothing_is_unpacked(door, redis):
    """A bomb of ten megabytes that is signed as it came is ten kilobytes to us, and no JSON."""
    bomb = gzip.compress(b"[" * 10_000_000)
    packed = signed(replace(participant_added(), body=bomb))
    headers = packed.headers() | {"Content-Encoding": "gzip"}
    before = door.memory
    async with on_wire(door.port) as wire:
        await wire.send(framed(packed.path.encode(), bomb, headers, f"Content-Length: {len(bomb)}"))
        assert (await wire.answer()).status == 400
    assert door.memory - before < 5_000_000


async def test_mail_of_very_many_parts(door, redis):
    """It is hashed to its end and not read so far: it costs memory as little as trust."""
    part = b"--b\r\nContent-Disposition: form-data; name=text\r\n\r\n\r\n"
    body = part * 200_000 + b"--b--\r\n"
    headers = signed(mail_received()).headers() | {"Content-Type": "multipart/form-data; boundary=b"}
    before = door.memory
    async with on_wire(door.port) as wire:
        await wire.send(framed(b"/webhooks/email", body, headers, f"Content-Length: {len(body)}"))
        assert (await wire.answer()).status == 403
    assert door.memory - before < 20_000_000


async def test_pipeline_that_is_never_read(door, redis):
    """Whoever asks and never reads fills no memory: reading stops where answers do."""
    asked = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100
    before = door.memory
    async with on_wire(door.port) as wire:
        for _ in range(200):
            wire.writer.write(asked)
        assert await door.takes(1)
        assert door.memory - before < 30_000_000


async def test_thousands_of_idle_connections(door, redis):
    """There are as many as may be, an honest webhook is answered all the while, and memory has an end."""
    number = allow_files(2500)
    before, half = door.memory, GOOD[:100]
    async with AsyncExitStack() as stack:
        for index in range(number):
            wire = await dial(door.port)
            stack.push_async_callback(wire.close)
            await wire.send(half if index % 2 else b"")
            if index % 500 == 0:
                assert await door.takes(index)
        assert await door.takes(number)
        assert await door.is_ready()
        assert door.memory - before < 150_000_000
        closed = await closings(door)
        assert closed >= number - 2048
    await until(door.is_ready)


async def closings(door):
    """How many connections it has closed for want of room."""
    async with on_wire(door.port) as wire:
        await wire.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        text = (await wire.answer()).body.decode()
    lines = [line for line in text.splitlines() if line.startswith('router_connections_closed_total{why="crowd"}')]
    return float(lines[0].rpartition(" ")[2]) if lines else 0


async def test_nothing_the_attacker_chose_is_a_label(door, redis):
    """Whatever was sent, the metrics of webhooks have the words of the tables and no others."""
    async with on_wire(door.port) as wire:
        await wire.send(b"<x>BREW /" + b"y" * 300 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        await wire.answer()
    async with on_wire(door.port) as wire:
        await wire.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        text = (await wire.answer()).body.decode()
    series = [line for line in text.splitlines() if line.startswith("router_webhooks_total{")]
    assert 0 < len(series) < 60
    assert all(len(line) < 120 for line in series)


async def test_every_refusal_has_its_line(door, redis):
    """What is no HTTP is told in the log once, by the kind of its error and nothing of what it was."""
    before = len(door.lines)
    async with on_wire(door.port) as wire:
        await wire.send(b'GET /forged\r\n{"event":"x"}\r\n\r\n')
        assert (await wire.answer()).status == 400
    (line,) = (await until(lambda: door.lines[before:]))[:1]
    assert (line["event"], line["source"], line["status"], line["result"]) == ("webhook", "none", 400, "http")
    assert "forged" not in orjson.dumps(line).decode()
