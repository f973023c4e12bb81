"""The receiver's routes with any bytes, over a real socket: responses of the contract, and no crash."""

import re
import socket
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.core.errors import UnreadableError
from router.core.events import SourceName
from router.core.signing.form import parse_form
from router.core.signing.twilio import sign
from router.inbound.sources import SOURCES
from tests.fuzz.targets import TARGETS, Target, any_bytes
from tests.receiver.attacked import CONTRACT, attacked
from tests.receiver.samples import SAMPLES, Request, is_form, signed
from tests.support.accounts import BASE_URL, TOKEN
from tests.support.raw_http import framed

pytestmark = pytest.mark.processes

#: Possible bodies of responses: empty, our TwiML, `{}` for a classic pre-action, or an operator's page.
BODIES = re.compile(
    rb"|<\?xml version=\"1\.0\" encoding=\"UTF-8\"\?><Response.*>|\{\}|\{\"status\".*\}|# HELP .*", re.DOTALL
)
USUAL = settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
#: Seconds to wait for a response.
LIMIT = 30.0


@pytest.fixture(scope="module")
def receiver(tmp_path_factory, redis_url):
    """One receiver for all tests; it must end cleanly afterwards."""
    private = (TOKEN,)  # not the number: junk may put it where a SID belongs, which logs show
    with attacked(tmp_path_factory.mktemp("fuzzed"), redis_url, private=private) as running:
        yield running


def exchange(port, data):
    """Send bytes, end the sending side, and return all that is received; raises TimeoutError if it never ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as connection:
        received = b""
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionError:
            pass  # the receiver closed the connection before it had read everything
        return received


def ask(port, data):
    """Send one complete request and return status and body of its response."""
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as connection:
        connection.sendall(data)
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65536) or pytest.fail("no response")
        head, _, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        while length and len(body) < int(length[1]):
            body += connection.recv(65536) or pytest.fail("an incomplete response")
        return int(head.split(b" ", 2)[1]), body


def is_ready(port):
    """Tell whether the receiver is ready for webhooks."""
    return ask(port, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 200


def request_of(name):
    """Return the bytes of a valid request of a source."""
    request = signed(SAMPLES[name]())
    return framed(request.path.encode(), request.body, request.headers(), f"Content-Length: {len(request.body)}")


REQUESTS = Target("requests", is_ready, tuple(request_of(name) for name in SAMPLES))


@USUAL
@given(data=any_bytes(REQUESTS))
def test_any_bytes_on_the_wire(receiver, redis, data):
    """For any bytes the receiver sends responses of the contract, or closes the connection."""
    received = exchange(receiver.port, data)
    for status in re.findall(rb"(?:\A|\r\n\r\n)HTTP/\d\.\d (\d{3}) ", received):
        assert int(status) in CONTRACT | {100}
    assert not received or received.startswith(b"HTTP/")  # 0.9 if the request line names no version
    assert is_ready(receiver.port)


METHODS = st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PROPFIND", "A" * 30])
PATHS = st.sampled_from([*(source.path for source in SOURCES.values()), "/healthz", "/metrics", "/", "/x"])
TYPES = st.sampled_from([*(source.content_type for source in SOURCES.values()), "", "a/b", "multipart/form-data; x="])
HEADERS = st.dictionaries(
    st.from_regex(r"[A-Za-z][A-Za-z-]{0,20}", fullmatch=True).filter(lambda name: name.lower() not in FRAMING),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60).map(str.strip),
    max_size=8,
)
FRAMING = {"content-length", "transfer-encoding", "host", "connection", "upgrade", "expect", "content-type", "te"}


@USUAL
@given(
    method=METHODS,
    path=PATHS,
    query=st.from_regex(r"(\?[!-~]{0,40})?", fullmatch=True),
    kind=TYPES,
    headers=HEADERS,
    body=st.binary(max_size=400),
)
def test_any_request_that_is_well_formed(receiver, redis, method, path, query, kind, headers, body):
    """Any method, path, query, headers, type and body get a status of the contract, and a body without their text."""
    named = "".join(f"{name}: {value}\r\n" for name, value in (headers | {"Content-Type": kind}).items())
    head = f"{method} {path}{query.replace('#', '')} HTTP/1.1\r\nHost: x\r\n{named}Content-Length: {len(body)}\r\n\r\n"
    if method == "HEAD":
        assert exchange(receiver.port, head.encode() + body) is not None
        return
    status, answer = ask(receiver.port, head.encode() + body)
    assert status in CONTRACT
    assert BODIES.fullmatch(answer)


def sign_junk(name, body):
    """Return any bytes as a signed request of a source; a form without readable parameters is not signed."""
    webhook = replace(SAMPLES[name](), body=body)
    if name == SourceName.EMAIL:
        return signed(replace(webhook, content_type="multipart/form-data; boundary=xYzZY"))
    if not is_form(webhook):
        return signed(webhook)
    with suppress(UnreadableError):
        signature = sign(TOKEN, (BASE_URL + webhook.path).encode(), parse_form(body))
        return Request(webhook.path, webhook.content_type, body, signature)
    return Request(webhook.path, webhook.content_type, body, "none")


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_signed_junk(receiver, redis, name, data):
    """A signed request that is unreadable or of another account gets 400 or 403, any other one 200, none 500."""
    target = TARGETS["mail" if name == SourceName.EMAIL else name.value]
    request = sign_junk(name, data.draw(any_bytes(target)))
    whole = framed(request.path.encode(), request.body, request.headers(), f"Content-Length: {len(request.body)}")
    status, answer = ask(receiver.port, whole)
    assert status in {200, 400, 403}
    assert BODIES.fullmatch(answer)


def test_receiver_is_still_ready(receiver, redis):
    """After all tests the same process answers, and it logged no error."""
    assert is_ready(receiver.port)
    assert not [line for line in receiver.lines if line["level"] == "error" or line.get("status") == 500]
