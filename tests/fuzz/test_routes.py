"""The receiver's routes under any bytes, over a real socket: each has an answer of the contract, and it goes on."""

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

#: What a body may be: nothing, TwiML of ours, `{}` of a classic pre-action, or what operators ask for.
BODIES = re.compile(
    rb"|<\?xml version=\"1\.0\" encoding=\"UTF-8\"\?><Response.*>|\{\}|\{\"status\".*\}|# HELP .*", re.DOTALL
)
USUAL = settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
#: Seconds after which an answer is no answer.
LIMIT = 30.0


@pytest.fixture(scope="module")
def door(tmp_path_factory, redis_url):
    """One receiver for all that is thrown at it; it must end cleanly afterwards."""
    private = (TOKEN,)  # junk may put a number where a SID belongs, and that is shown
    with attacked(tmp_path_factory.mktemp("fuzzed"), redis_url, private=private) as running:
        yield running


def throw(port, data):
    """Send bytes, hang up our side, and return all that comes back; raises TimeoutError if it never ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as connection:
        came = b""
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                came += chunk
        except ConnectionError:
            pass  # it has hung up before it had read all
        return came


def ask(port, data):
    """Send one whole request and return status and body of its answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as connection:
        connection.sendall(data)
        came = b""
        while b"\r\n\r\n" not in came:
            came += connection.recv(65536) or pytest.fail("no answer")
        head, _, body = came.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        while length and len(body) < int(length[1]):
            body += connection.recv(65536) or pytest.fail("half an answer")
        return int(head.split(b" ", 2)[1]), body


def is_ready(port):
    """Tell whether a webhook could be made durable."""
    return ask(port, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 200


def request_of(name):
    """An honest request of a source as bytes."""
    request = signed(SAMPLES[name]())
    return framed(request.path.encode(), request.body, request.headers(), f"Content-Length: {len(request.body)}")


REQUESTS = Target("requests", is_ready, tuple(request_of(name) for name in SAMPLES))


@USUAL
@given(data=any_bytes(REQUESTS))
def test_any_bytes_on_the_wire(door, redis, data):
    """Whatever is sent, what comes back are answers of the contract, or the end of the connection."""
    came = throw(door.port, data)
    for status in re.findall(rb"(?:\A|\r\n\r\n)HTTP/\d\.\d (\d{3}) ", came):
        assert int(status) in CONTRACT | {100}
    assert not came or came.startswith(b"HTTP/")  # 0.9 where the request line names no version
    assert is_ready(door.port)


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
def test_any_request_that_is_well_formed(door, redis, method, path, query, kind, headers, body):
    """Any method, path, query, headers, type and body: a status of the contract, and no word that was sent."""
    named = "".join(f"{name}: {value}\r\n" for name, value in (headers | {"Content-Type": kind}).items())
    head = f"{method} {path}{query.replace('#', '')} HTTP/1.1\r\nHost: x\r\n{named}Content-Length: {len(body)}\r\n\r\n"
    if method == "HEAD":
        assert throw(door.port, head.encode() + body) is not None
        return
    status, answer = ask(door.port, head.encode() + body)
    assert status in CONTRACT
    assert BODIES.fullmatch(answer)


def sign_junk(name, body):
    """Return any bytes as a source would send and sign them; a form that has no parameters to be signed is not."""
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
def test_signed_junk(door, redis, name, data):
    """What is signed and cannot be read is 400, or another account's, never 500; what is taken is answered as ever."""
    target = TARGETS["mail" if name == SourceName.EMAIL else name.value]
    request = sign_junk(name, data.draw(any_bytes(target)))
    whole = framed(request.path.encode(), request.body, request.headers(), f"Content-Length: {len(request.body)}")
    status, answer = ask(door.port, whole)
    assert status in {200, 400, 403}
    assert BODIES.fullmatch(answer)


def test_it_is_still_well(door, redis):
    """After all of it the process that was started is the one that answers, and nothing of it was an error."""
    assert is_ready(door.port)
    assert not [line for line in door.lines if line["level"] == "error" or line.get("status") == 500]
