"""Plain requests: whatever is read here, aiohttp's parser reads the same; and it is known when that is between two."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.inbound.sources import SOURCES, SourceName
from router.receiver.connections import MAX_HEADER_SIZE, MAX_HEADERS, READ_BUFFER
from router.receiver.plain_requests import MAX_HEAD, Boundaries, read_plain
from router.receiver.requests import SIGNATURE, TOKEN

PATHS = {SOURCES[SourceName.MESSAGING].path: SOURCES[SourceName.MESSAGING]}
HEADERS = (
    b"Host: hooks.example.com",
    b"User-Agent: TwilioProxy/1.1",
    b"Accept: */*",
    b"Content-Type: application/x-www-form-urlencoded; charset=utf-8",
    b"Content-Length: 7",
    b"I-Twilio-Idempotency-Token: 6b0f5d0c",
    b"X-Twilio-Signature: abc=",
)
#: Headers that proxies add or change.
PROXIED = (
    b"X-Forwarded-For: 192.0.2.1, 198.51.100.7",
    b"X-Forwarded-For: 203.0.113.9",
    b"X-Forwarded-Proto: https",
    b"Forwarded: for=192.0.2.1;proto=https",
    b"Via: 1.1 proxy.example.com",
    b"Connection: keep-alive",
    b"X-Request-Id: 7f",
)
#: Headers with which a request is aiohttp's.
UNUSUAL = (
    b"Transfer-Encoding: chunked",
    b"Expect: 100-continue",
    b"Upgrade: websocket",
    b"Connection: close",
    b"Connection: upgrade",
    b"Content-Encoding: gzip",
    b"Content-Length: 7",
    b"Host: b.example.com",
    b"X-Twilio-Signature: def=",
    b"X-Twilio-Webhooks-Signature-Settings: key=shared_1",
    b" folded: 1",
    b"X: 1\r\n folded",
    b"X : 1",
    b"X:  1",
    b"X: 1 ",
    b"X:",
    b"X: \xff",
    b"X: a\x00b",
    b"X: a\nY: b",
    b"X: a\rY: b",
    b"X\x7f: 1",
    b": 1",
    b"no header",
    b"X: " + b"1" * MAX_HEAD,
)


def request(*headers, line=b"POST /webhooks/messaging HTTP/1.1", body=b"Body=hi", end=b"\r\n\r\n"):
    return b"\r\n".join([line, *headers]) + end + body


PLAIN = request(*HEADERS)


def without(name):
    return [one for one in HEADERS if not one.lower().startswith(name.lower())]


class Parser:
    """aiohttp's parser as the receiver has it."""

    def __init__(self):
        pauses = SimpleNamespace(
            pause_reading=lambda: None, resume_reading=lambda *_, **__: None, _reading_paused=False
        )
        self.parser = HttpRequestParser(
            pauses,
            asyncio.get_running_loop(),
            READ_BUFFER,
            max_line_size=8190,
            max_field_size=MAX_HEADER_SIZE,
            max_headers=MAX_HEADERS,
            auto_decompress=False,
        )

    def feed(self, data):
        """The messages that the data completes or begins; None if it is not HTTP."""
        try:
            return self.parser.feed_data(data)[0]
        except HttpProcessingError:
            return None


def assert_read_the_same(parser, data, raw):
    """Assert that aiohttp's parser makes of the data exactly the request that has been read."""
    ((message, payload),) = parser.feed(data)
    assert (message.method, message.path.encode(), message.version) == ("POST", raw.raw_path, (1, 1))
    assert (message.should_close, message.upgrade, message.chunked, message.compression) == (False,) * 3 + (None,)
    assert payload.is_eof()
    assert payload.read_nowait() == raw.body
    for name in (SIGNATURE, TOKEN, "Content-Type"):
        assert message.headers.getall(name, []) == raw.headers.getall(name, [])


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        request(*HEADERS, *PROXIED),
        request(*[one.lower() if one.startswith((b"Host", b"Content")) else one for one in HEADERS]),
        request(*HEADERS, line=b"POST /webhooks/messaging?a=%20b&c HTTP/1.1"),
        request(*without(b"I-Twilio")),
    ],
    ids=["Twilio's", "over proxies", "lower case", "query", "no token"],
)
async def test_a_usual_webhook_is_read_as_aiohttp_reads_it(data):
    """Path, body, signature, token and type are those of aiohttp."""
    source, raw = read_plain(data, PATHS)
    assert source.name == "messaging"
    assert_read_the_same(Parser(), data, raw)


@pytest.mark.parametrize(
    "data",
    [
        *[request(*HEADERS, header) for header in UNUSUAL],
        *[request(*without(name)) for name in (b"Host", b"Content-Length", b"Content-Type", b"X-Twilio-Signature")],
        *[
            request(*without(b"Content-Length"), b"Content-Length: " + text)
            for text in (b"07", b"+7", b"8", b"6", b"0x7")
        ],
        *[
            request(*HEADERS, line=line)
            for line in (
                b"POST /webhooks/messaging HTTP/1.0",
                b"POST /webhooks/messaging  HTTP/1.1",
                b"POST http://hooks.example.com/webhooks/messaging HTTP/1.1",
                b"POST /webhooks/messaging#x HTTP/1.1",
                b"POST /webhooks/messaging?#x HTTP/1.1",
                b"POST /webhooks/messaging?\xff HTTP/1.1",
                b"POST /webhooks/messaging? x HTTP/1.1",
                b"POST /webhooks/messagin%67 HTTP/1.1",
                b"POST /webhooks/voice HTTP/1.1",
                b"PUT /webhooks/messaging HTTP/1.1",
                b"post /webhooks/messaging HTTP/1.1",
                b"\r\nPOST /webhooks/messaging HTTP/1.1",
            )
        ],
        request(*HEADERS, *[b"X-%d: 1" % number for number in range(60)]),
        request(*HEADERS, end=b"\n\n"),
        PLAIN * 2,
        PLAIN[:-1],
        b"",
    ],
)
def test_anything_unusual_is_left_to_aiohttp(data):
    """Nothing is read from a request that is not plain, not whole, or not alone."""
    assert read_plain(data, PATHS) is None


@st.composite
def mutated(draw):
    """A plain request with a few bytes replaced, inserted or removed, or with other header lines."""
    headers = draw(st.lists(st.sampled_from([*HEADERS, *PROXIED, *UNUSUAL[:-1]]), max_size=4))
    data = bytearray(request(*draw(st.permutations(HEADERS)), *headers))
    bits = st.sampled_from(
        [b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\x00", b"\x80", b"?", b"#", b"%", b"7", b"A"]
    )
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 2))] = draw(bits)
    return bytes(data)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=mutated())
def test_what_is_read_is_what_aiohttp_reads(data):
    """Of any bytes, those that are read here are one whole request to aiohttp too, with the same parts."""

    async def compare():
        found = read_plain(data, PATHS)
        if found is not None:
            assert_read_the_same(Parser(), data, found[1])

    asyncio.run(compare())


@settings(max_examples=300)
@given(data=st.lists(mutated(), min_size=1, max_size=3).map(b"".join), cuts=st.lists(st.integers(1, 1500), max_size=4))
def test_after_a_boundary_aiohttps_parser_begins_a_request(data, cuts):
    """Whenever the parser is said to be between two requests, it reads the next one as a whole request."""

    async def compare():
        boundaries, parser, start = Boundaries(), Parser(), 0
        for end in [*sorted(cuts), len(data)]:
            piece, start = data[start:end], max(start, end)
            boundaries.note(piece)
            messages = parser.feed(piece)
            parser.parser.message_consumed()
            assert messages is not None or not boundaries.is_between
            if messages is None:
                return
        if boundaries.is_between:
            assert_read_the_same(parser, PLAIN, read_plain(PLAIN, PATHS)[1])

    asyncio.run(compare())


@pytest.mark.parametrize("cut", range(1, len(PLAIN)))
def test_a_request_in_two_pieces_ends_at_a_boundary(cut):
    """A connection whose request came in pieces is known to be idle after it."""
    boundaries = Boundaries()
    boundaries.note(PLAIN[:cut])
    assert not boundaries.is_between
    boundaries.note(PLAIN[cut:])
    assert boundaries.is_between


def test_no_boundary_follows_a_request_that_ends_its_connection():
    """aiohttp's parser reads nothing more after it."""
    boundaries = Boundaries()
    boundaries.note(request(*HEADERS, b"Connection: close"))
    assert not boundaries.is_between


def test_a_connection_with_pipelined_requests_stays_aiohttps():
    """Where one request ends in the middle of the data, no boundary is known any more."""
    boundaries = Boundaries()
    for data in (PLAIN + PLAIN[:50], PLAIN[50:], PLAIN):
        boundaries.note(data)
        assert not boundaries.is_between
