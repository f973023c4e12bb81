"""Large bodies share the loop, and the memory for bodies that arrive: neither keeps out others for long."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from router.core.signing import form as form_module
from router.core.signing import twilio as twilio_module
from router.core.signing.form import PIECE
from router.inbound.email.inbound_parse import MailReader
from router.receiver import authentication, bodies, mail_authentication
from router.receiver.bodies import InFlightBytes, LoopShare
from tests.receiver.samples import mail_received, signed, sms
from tests.receiver.wire import head
from tests.support.accounts import TOKEN
from tests.support.raw_http import on_wire
from tests.support.waiting import until


@pytest.fixture
def slices(monkeypatch):
    """Every step is a slice of its own."""
    monkeypatch.setattr(bodies, "SLICE", 0.0)


@asynccontextmanager
async def turns():
    """Count the turns of the loop in the block, in the only element of a list."""
    count, loop, going = [0], asyncio.get_running_loop(), True

    def turn():
        count[0] += 1
        if going:
            loop.call_soon(turn)

    loop.call_soon(turn)
    try:
        yield count
    finally:
        going = False


def steps(number, done, name=""):
    """Do a number of steps, noting each one."""
    for _ in range(number):
        done.append(name)
        yield
    return name


async def test_work_takes_turns_in_slices(slices):
    """In each turn of the loop at most one slice is done, in turns; short work is not behind long work."""
    share, done = LoopShare(), []
    async with turns() as count:
        results = await asyncio.gather(*(share.run(steps(n, done, name)) for n, name in ((5, "a"), (3, "b"), (4, "c"))))
    assert results == list("abc")
    assert done == list("aa" + "b" + "c" + "abcabcac")  # the first step of each is done at once
    assert count[0] >= 8


async def test_work_of_one_step_waits_for_nobody(slices):
    """What ends at once is done at once, also while other work is waiting."""
    share, done = LoopShare(), []
    long = asyncio.create_task(share.run(steps(50, done)))
    await asyncio.sleep(0)
    before = len(done)
    assert await share.run(steps(0, [], "short")) == "short"
    assert len(done) == before
    await long


async def test_work_that_fails_or_is_canceled_makes_room_for_the_next(slices):
    """An error of a step is raised to its caller; canceled work ends; the next one has its turn."""
    share, done = LoopShare(), []

    def failing():
        yield
        raise KeyError("no")

    endless = asyncio.create_task(share.run(steps(10**9, done)))
    await until(lambda: len(done) > 2, pause=0)
    failed = asyncio.create_task(share.run(failing()))
    await asyncio.sleep(0)
    endless.cancel()
    with pytest.raises(KeyError):
        await failed
    assert await share.run(steps(3, [], "next")) == "next"


#: Bodies that cost the most to decode: their size is the limit of a form.
WORST = {
    "escapes": b"Body=" + b"%41" * 200_000,
    "percent signs": b"Body=" + b"%" * 600_000,
    "one name": b"&".join([b"a=" + b"%41" * 200] * 900),
    "not UTF-8": b"&".join([b"a%ff=" + b"%e3" * 200] * 900),
    "names": b"&".join([b"%41" * 200 + b"=" + b"%41" * 9] * 900),
}


@pytest.mark.parametrize("kind", WORST)
async def test_a_large_forged_form_is_judged_in_slices(receiver, slices, monkeypatch, kind):
    """In no turn of the loop more than two pieces of it are decoded, so small webhooks pass in between."""
    unquote, decoded = form_module._unquote, Counter()
    forged = signed(sms()).but(body=WORST[kind])
    async with turns() as turn:
        monkeypatch.setattr(form_module, "_unquote", lambda data: decoded.update({turn[0]: len(data)}) or unquote(data))
        assert (await receiver.send(forged)).status == 403
    assert max(decoded.values()) <= 2 * PIECE + 4
    assert len(decoded) > 100


async def test_a_large_forged_form_is_hashed_in_slices(start, slices, monkeypatch):
    """With several tokens, and bytes to be replaced, no turn of the loop hashes or replaces much of it either."""
    keyed, hashed, replace = twilio_module._keyed, Counter(), form_module._DECODER
    body = b"Body=" + b"\xff" * 600_000

    class Mac:
        def __init__(self, mac):
            self.mac = mac

        def copy(self):
            return Mac(self.mac.copy())

        def update(self, data):
            hashed[turn[0]] += len(data)
            self.mac.update(data)

        def digest(self):
            return self.mac.digest()

    class Decoder:
        def __init__(self, errors):
            self.decoder = replace(errors)

        def decode(self, data, **options):
            replaced[turn[0]] += len(data)
            return self.decoder.decode(data, **options)

    replaced = Counter()
    monkeypatch.setattr(twilio_module, "_keyed", lambda secret, digest: Mac(keyed(secret, digest)))
    monkeypatch.setattr(form_module, "_DECODER", Decoder)
    receiver = await start(TWILIO_AUTH_TOKEN=f"{TOKEN},{'b' * 32}")
    async with turns() as turn:
        assert (await receiver.send(signed(sms()).but(body=body))).status == 403
    assert sum(hashed.values()) > 4 * (600_000 + 3 * 600_000)
    assert max(hashed.values()) <= 2 * twilio_module.PIECE + 400
    assert sum(replaced.values()) > 600_000
    assert max(replaced.values()) <= 2 * PIECE


async def test_large_signed_forms_are_accepted(receiver):
    """Judged in slices, a signed form is accepted like any other, several at once too."""
    requests = [signed(sms(number, Padding="ß%" * 50_000)) for number in range(3)]
    answers = await asyncio.gather(*(receiver.send(request) for request in requests))
    assert [answer.status for answer in answers] == [200] * 3
    assert sorted(entry[b"body"] for entry in await receiver.entries()) == sorted(one.body for one in requests)


async def test_a_form_over_the_size_of_its_source_is_not_read(receiver):
    """A megabyte is answered 413 by its announced length."""
    async with on_wire(receiver.port) as wire:
        await wire.send(head(signed(sms()), length=1_000_000))
        assert (await wire.answer()).status == 413


async def test_json_of_a_megabyte_is_read(receiver):
    """Batches of Event Streams may be larger than forms."""
    assert (await receiver.send(signed(sms()).but(path="/webhooks/event-streams", body=b"x" * 1_000_000))).status == 415


# --- giving way ------------------------------------------------------------------------------------------------------


@pytest.fixture
def in_flight(monkeypatch):
    """The bodies that are being received, by the bytes that have arrived of each."""
    made = []

    class Seen(InFlightBytes):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr(authentication, "InFlightBytes", Seen)
    monkeypatch.setattr(mail_authentication, "InFlightBytes", Seen)
    return lambda: sorted(one.received for each in made for one in each._transfers if one.limit is not None)


async def test_a_body_that_drips_gives_way_to_another_one(monkeypatch, start, in_flight):
    """When the memory for large bodies is taken, the slowest of those that arrive for long is ended with 503."""
    monkeypatch.setattr(authentication, "LARGE_AT_ONCE", 4_000)
    monkeypatch.setattr(authentication, "SMALL", 500)
    monkeypatch.setattr(bodies, "PATIENCE", 0.0)
    receiver = await start(ROUTER_MAX_BODY_BYTES="4000")
    large = signed(sms(2, Padding="x" * 900))
    async with on_wire(receiver.port) as slower, on_wire(receiver.port) as slow, on_wire(receiver.port) as wire:
        await slower.send(head(large, length=1900) + b"x" * 10)
        await until(lambda: in_flight() == [10])
        await slow.send(head(large, length=1900) + b"x" * 1800)
        await until(lambda: in_flight() == [10, 1800])
        await wire.send(head(large, length=len(large.body)) + large.body[:-1])
        assert (await slower.answer()).status == 503
        await wire.send(large.body[-1:])
        assert (await wire.answer()).status == 200
        await slow.send(b"x" * 100)
        assert (await slow.answer()).status == 403


async def test_bodies_that_are_only_announced_give_way_to_one_that_is_there(monkeypatch, start, in_flight):
    """Also if they were announced a moment ago; one of which more has arrived does not give way."""
    monkeypatch.setattr(authentication, "LARGE_AT_ONCE", 4_000)
    monkeypatch.setattr(authentication, "SMALL", 500)
    monkeypatch.setattr(bodies, "PATIENCE", 600.0)
    receiver = await start(ROUTER_MAX_BODY_BYTES="4000")
    large = signed(sms(2, Padding="x" * 900))
    async with on_wire(receiver.port) as announced, on_wire(receiver.port) as further:
        await announced.send(head(large, length=1900) + b"x")
        await until(lambda: in_flight() == [1])
        await further.send(head(large, length=1900) + b"x" * 1800)
        await until(lambda: in_flight() == [1, 1800])
        assert (await receiver.send(large)).status == 200
        assert (await announced.answer()).status == 503
        assert in_flight() == [1800]


async def test_a_mail_that_drips_gives_way_to_another_one(monkeypatch, start, in_flight):
    """So is the slowest mail: callers that drip cannot keep out mails."""
    monkeypatch.setattr(mail_authentication, "MAILS_AT_ONCE", 1)
    monkeypatch.setattr(bodies, "PATIENCE", 0.0)
    receiver, mail = await start(), signed(mail_received())
    async with on_wire(receiver.port) as slow:
        await slow.send(head(mail, length=len(mail.body)) + mail.body[:100])
        await until(lambda: in_flight() == [100])
        assert (await receiver.send(mail)).status == 200
        assert (await slow.answer()).status == 503


def test_nothing_gives_way_in_vain():
    """If all that could give way would not be enough, nothing does."""
    in_flight = InFlightBytes(10)
    with in_flight.reserve(6) as first, in_flight.reserve(4):
        with pytest.raises(bodies.NotDurableError), in_flight.reserve(1):
            raise AssertionError("nothing was free, and nothing waits for its sender")
        assert not first.is_displaced


async def test_an_expensive_mail_is_read_in_slices(receiver, slices, monkeypatch):
    """In no turn of the loop more than two pieces of a mail are parsed before its proof; it is refused in the end."""
    read, feed = Counter(), MailReader.feed
    mail = signed(mail_received())
    part = b'--b\r\nContent-Disposition: form-data; name="x"\r\n' + b"a:\r\n" * 15 + b"\r\n\r\n"
    forged = mail.but(body=part * 400 + b"--b--\r\n", content_type="multipart/form-data; boundary=b")
    async with turns() as turn:
        monkeypatch.setattr(
            MailReader, "feed", lambda self, data: read.update({turn[0]: len(data)}) or feed(self, data)
        )
        assert (await receiver.send(forged)).status == 403
    assert max(read.values()) <= 2 * mail_authentication.PIECE
    assert sum(read.values()) == len(forged.body)


async def test_a_small_forged_mail_waits_for_its_turn_too(receiver, monkeypatch):
    """However it is cut, no more than a few hundred bytes of it are parsed outside the share of the loop."""
    work, feed, is_turn, outside = LoopShare._work, MailReader.feed, [False], Counter()

    def working(self, *arguments):
        is_turn[0] = True
        try:
            return work(self, *arguments)
        finally:
            is_turn[0] = False

    monkeypatch.setattr(LoopShare, "_work", working)
    monkeypatch.setattr(
        MailReader, "feed", lambda self, data: outside.update({is_turn[0]: len(data)}) or feed(self, data)
    )
    mail = signed(mail_received())
    body = (b'--b\r\nContent-Disposition: form-data; name="x"\r\n' + b"a:\r\n" * 15 + b"\r\n") * 20
    forged = mail.but(body=body[:2040], content_type="multipart/form-data; boundary=b")
    assert (await receiver.send(forged)).status == 403
    async with on_wire(receiver.port) as wire:
        await wire.send(head(forged, length=len(forged.body)))
        for at in range(0, len(forged.body), 200):
            await wire.send(forged.body[at : at + 200])
            await asyncio.sleep(0)
        assert (await wire.answer()).status == 403
    assert outside[False] <= 2 * 256
    assert outside.total() == 2 * 2040
