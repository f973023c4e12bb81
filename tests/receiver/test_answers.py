"""Shared responses: the bytes on the wire are those that aiohttp would have sent."""

import asyncio
from types import SimpleNamespace

import orjson
import pytest
from aiohttp import HttpVersion10, HttpVersion11

from router import logs
from router.receiver import answers
from router.receiver.answers import Answer, SharedResponse, make_constant
from tests.receiver.samples import SAMPLES, signed, sms
from tests.receiver.wire import whole
from tests.support.raw_http import framed, on_wire

#: Headers that depend on the connection or name the program.
OWN = {"connection", "server"}
TWIML = b"<Response/>"


def make_request(**changes):
    """A request with the attributes on which its response depends."""
    usual = {"version": HttpVersion11, "keep_alive": True, "protocol": SimpleNamespace(writing_paused=False)}
    return SimpleNamespace(**usual | changes)


@pytest.mark.parametrize("name", SAMPLES)
async def test_a_shared_response_equals_an_ordinary_one(start, name):
    """Status, headers and body are the same on a kept connection, on a closing one, and for a second request."""
    receiver, request = await start(), signed(SAMPLES[name]())
    async with on_wire(receiver.port) as wire:
        for _ in range(2):
            await wire.send(whole(request))
        shared = [await wire.answer() for _ in range(2)]
        await wire.send(whole(request, more="Connection: close\r\n"))
        ordinary = await wire.answer()
        assert await wire.is_closed()
    assert ordinary.headers["connection"] == "close"
    for answer in shared:
        assert (answer.status, answer.body) == (ordinary.status, ordinary.body) == (200, ordinary.body)
        assert answer.headers.keys() - OWN == ordinary.headers.keys() - OWN
        assert answer.headers["content-type"] == ordinary.headers["content-type"]


async def test_an_http_1_0_caller_gets_an_answer_and_a_closed_connection(receiver):
    """HTTP/1.0 keeps no connection unless the caller asks for it."""
    request = signed(sms())
    length = f"Content-Length: {len(request.body)}"
    async with on_wire(receiver.port) as wire:
        await wire.send(framed(request.path.encode(), request.body, request.headers(), length, version="HTTP/1.0"))
        assert (await wire.answer()).status == 200
        assert await wire.is_closed()


@pytest.mark.parametrize(
    ("request_", "is_last"),
    [
        (make_request(version=HttpVersion10), False),
        (make_request(keep_alive=False), False),
        (make_request(protocol=SimpleNamespace(writing_paused=True)), False),
        (make_request(), True),
    ],
    ids=["HTTP/1.0", "closes", "does not read", "stopping"],
)
def test_an_unusual_connection_gets_an_ordinary_response(request_, is_last):
    """An ordinary response waits for slow readers and announces that it is the last."""
    response = make_constant(TWIML, "text/xml").to(request_, is_last=is_last)
    assert not isinstance(response, SharedResponse)
    assert (response.status, response.body, response.content_type) == (200, TWIML, "text/xml")
    assert response.keep_alive is (False if is_last else None)


def test_only_a_constant_answer_is_shared():
    """An answer that depends on the webhook, or refuses it, is an ordinary response."""
    constant = make_constant(TWIML, "text/xml")
    assert isinstance(constant.to(make_request(), is_last=False), SharedResponse)
    refused = Answer(503, headers={"Retry-After": "5"}).to(make_request(), is_last=False)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    assert not isinstance(refused, SharedResponse)


async def send(shared, written):
    """Send a shared response to a caller that appends what it receives to `written`."""
    await shared.prepare(SimpleNamespace(transport=SimpleNamespace(write=written.append, is_closing=lambda: False)))
    await shared.write_eof()


async def test_each_answer_has_the_current_date(monkeypatch):
    """The head is rendered once per second."""
    written, moment = [], SimpleNamespace(now=0.0)
    monkeypatch.setattr(answers, "time", SimpleNamespace(time=lambda: moment.now))
    shared = SharedResponse(b"", "text/plain")
    for moment.now in (1_767_787_200.1, 1_767_787_200.9, 1_767_787_201.0):
        await send(shared, written)
        await asyncio.sleep(0)
    assert [data.partition(b"Date: ")[2] for data in written] == [
        b"Wed, 07 Jan 2026 12:00:00 GMT\r\n\r\n",
        b"Wed, 07 Jan 2026 12:00:00 GMT\r\n\r\n",
        b"Wed, 07 Jan 2026 12:00:01 GMT\r\n\r\n",
    ]
    assert written[0] is written[1]


async def test_lines_are_written_before_answers(monkeypatch):
    """The log lines of all webhooks of one turn of the event loop precede their answers."""
    written = []
    monkeypatch.setattr(logs._Output, "stream", SimpleNamespace(write=written.append, flush=lambda: None))
    shared = SharedResponse(TWIML, "text/xml")
    for number in range(2):
        logs.log_soon("webhook", number=number)
        await send(shared, written)
    assert written == []
    await asyncio.sleep(0)
    lines, *sent = written
    assert [orjson.loads(line)["number"] for line in lines.splitlines()] == [0, 1]
    assert len(sent) == 2
    assert all(data.endswith(TWIML) for data in sent)


async def test_answers_keep_the_order_of_their_requests(start):
    """Pipelined requests are answered in order, whether their responses are shared or not."""
    receiver, good = await start(), signed(sms())
    forged = good.but(signature="forged")
    async with on_wire(receiver.port) as wire:
        await wire.send(b"".join(whole(request) for request in (good, forged, good, good, forged, good)))
        assert [(await wire.answer()).status for _ in range(6)] == [200, 403, 200, 200, 403, 200]


async def test_a_connection_that_closes_meanwhile_costs_the_others_no_answer():
    """uvloop raises when it is written to; the callers behind it get their answers all the same."""
    shared, written = SharedResponse(b"", "text/plain"), []
    for is_closing in (False, True, False):
        transport = SimpleNamespace(
            write=written.append if not is_closing else None, is_closing=lambda it=is_closing: it
        )
        await shared.prepare(SimpleNamespace(transport=transport))
    await asyncio.sleep(0)
    assert len(written) == 2


async def test_a_caller_that_has_disconnected_raises():
    """It raises what aiohttp's own responses raise, so that the connection is given up."""
    with pytest.raises(ConnectionResetError):
        await SharedResponse(b"", "text/plain").prepare(SimpleNamespace(transport=None))
