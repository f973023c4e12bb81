"""Answers that are made once: what goes over the wire is what aiohttp would have sent, for whoever asks."""

import asyncio
from types import SimpleNamespace

import orjson
import pytest
from aiohttp import HttpVersion10, HttpVersion11

from router import logs
from router.receiver import answers
from router.receiver.answers import Answer, Ready, usual_answer
from tests.receiver.samples import SAMPLES, signed, sms
from tests.receiver.wire import head
from tests.support.raw_http import framed, on_wire

#: Headers that say something of the connection, or of the program.
OWN = {"connection", "server"}
TWIML = b"<Response/>"


def port_of(receiver):
    return int(receiver.url.rpartition(":")[2])


def whole(request, more=""):
    return head(request, length=len(request.body), more=more) + request.body


def asking(**changes):
    """A request as far as its answer depends on it."""
    usual = {"version": HttpVersion11, "keep_alive": True, "protocol": SimpleNamespace(writing_paused=False)}
    return SimpleNamespace(**usual | changes)


@pytest.mark.parametrize("name", SAMPLES)
async def test_a_ready_answer_is_the_ordinary_one(start, name):
    """Status, headers and body are the same whether the connection is kept or closed, however often one asks."""
    receiver, request = await start(), signed(SAMPLES[name]())
    async with on_wire(port_of(receiver)) as wire:
        for _ in range(2):
            await wire.send(whole(request))
        ready = [await wire.answer() for _ in range(2)]
        await wire.send(whole(request, more="Connection: close\r\n"))
        ordinary = await wire.answer()
        assert await wire.is_closed()
    assert ordinary.headers["connection"] == "close"
    for answer in ready:
        assert (answer.status, answer.body) == (ordinary.status, ordinary.body) == (200, ordinary.body)
        assert answer.headers.keys() - OWN == ordinary.headers.keys() - OWN
        assert answer.headers["content-type"] == ordinary.headers["content-type"]


async def test_an_old_caller_gets_an_answer_of_its_time(receiver):
    """HTTP/1.0 has no kept connections unless asked for: the answer says so, and ends it."""
    request = signed(sms())
    length = f"Content-Length: {len(request.body)}"
    async with on_wire(port_of(receiver)) as wire:
        await wire.send(framed(request.path.encode(), request.body, request.headers(), length, version="HTTP/1.0"))
        assert (await wire.answer()).status == 200
        assert await wire.is_closed()


@pytest.mark.parametrize(
    ("request_", "is_last"),
    [
        (asking(version=HttpVersion10), False),
        (asking(keep_alive=False), False),
        (asking(protocol=SimpleNamespace(writing_paused=True)), False),
        (asking(), True),
    ],
    ids=["HTTP/1.0", "closes", "does not read", "stopping"],
)
def test_what_is_not_usual_gets_an_ordinary_response(request_, is_last):
    """An ordinary response knows its connection: it waits for slow readers, and says that it is the last."""
    response = usual_answer(TWIML, "text/xml").to(request_, is_last=is_last)
    assert not isinstance(response, Ready)
    assert (response.status, response.body, response.content_type) == (200, TWIML, "text/xml")
    assert response.keep_alive is (False if is_last else None)


def test_only_a_usual_answer_is_ready():
    """What depends on the webhook, or refuses it, is made for it."""
    usual = usual_answer(TWIML, "text/xml")
    assert isinstance(usual.to(asking(), is_last=False), Ready)
    refused = Answer(503, headers={"Retry-After": "5"}).to(asking(), is_last=False)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    assert not isinstance(refused, Ready)


async def ask(ready, written):
    """Have an answer sent to a caller of whom it is known only what was written to it."""
    await ready.prepare(SimpleNamespace(transport=SimpleNamespace(write=written.append)))
    await ready.write_eof()


async def test_its_date_is_that_of_each_answer(monkeypatch):
    """The head is made anew each second, and not more often."""
    written, moment = [], SimpleNamespace(now=0.0)
    monkeypatch.setattr(answers, "time", SimpleNamespace(time=lambda: moment.now))
    ready = Ready(b"", "text/plain")
    for moment.now in (1_767_787_200.1, 1_767_787_200.9, 1_767_787_201.0):
        await ask(ready, written)
        await asyncio.sleep(0)
    assert [data.partition(b"Date: ")[2] for data in written] == [
        b"Wed, 07 Jan 2026 12:00:00 GMT\r\n\r\n",
        b"Wed, 07 Jan 2026 12:00:00 GMT\r\n\r\n",
        b"Wed, 07 Jan 2026 12:00:01 GMT\r\n\r\n",
    ]
    assert written[0] is written[1]


async def test_lines_are_written_before_answers(monkeypatch):
    """Of all that are answered in one turn the log has the lines before anybody has an answer."""
    written = []
    monkeypatch.setattr(logs._Output, "stream", SimpleNamespace(write=written.append, flush=lambda: None))
    ready = Ready(TWIML, "text/xml")
    for number in range(2):
        logs.log_soon("webhook", number=number)
        await ask(ready, written)
    assert written == []
    await asyncio.sleep(0)
    lines, *sent = written
    assert [orjson.loads(line)["number"] for line in lines.splitlines()] == [0, 1]
    assert len(sent) == 2
    assert all(data.endswith(TWIML) for data in sent)


async def test_answers_keep_the_order_of_their_requests(start):
    """Of requests that come at once on one connection, ready answers and others, each gets its own in its turn."""
    receiver, good = await start(), signed(sms())
    forged = good.but(signature="forged")
    async with on_wire(port_of(receiver)) as wire:
        await wire.send(b"".join(whole(request) for request in (good, forged, good, good, forged, good)))
        assert [(await wire.answer()).status for _ in range(6)] == [200, 403, 200, 200, 403, 200]


async def test_a_caller_who_has_gone_away_is_told_of():
    """As aiohttp's own responses do, so that the connection is given up."""
    with pytest.raises(ConnectionResetError):
        await Ready(b"", "text/plain").prepare(SimpleNamespace(transport=None))
