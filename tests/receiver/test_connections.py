"""Hostile connections: silent, slow, endless or too many of them; each one ends, and genuine webhooks pass."""

import asyncio
import resource
from contextlib import AsyncExitStack

import pytest
import uvloop
from aiohttp import StreamReader, web

from router.receiver import authentication, bodies, connections, mail_authentication
from router.receiver.bodies import InFlightBytes, ReadingPace
from router.receiver.connections import allow_files
from tests.receiver.samples import mail_received, participant_added, signed, sms
from tests.receiver.wire import head, whole
from tests.support.raw_http import dial, on_wire
from tests.support.waiting import until

GOOD = signed(sms())


async def drip(wire, data):
    """Send one byte at a time until there is an answer, which it returns, or (None) the connection is closed."""
    sent = iter(data)
    answer = asyncio.create_task(wire.answer())

    async def is_over():
        await wire.send(bytes([next(sent, ord("x"))]))
        return answer.done()

    await until(is_over)
    return answer.result()


@pytest.mark.parametrize("begun", [b"", b"POST /webhooks/messaging HTTP/1.1\r\nHost: x\r\nX-A: "])
async def test_a_connection_without_a_request_is_closed(monkeypatch, start, begun):
    """A caller that sends nothing, or half a head, is closed after HEAD_TIMEOUT, without an answer."""
    monkeypatch.setattr(connections, "HEAD_TIMEOUT", 0.2)
    receiver = await start()
    async with on_wire(receiver.port) as wire:
        await wire.send(begun)
        assert await wire.answer() is None
    assert receiver.webhooks() == []


async def test_head_that_drips_is_closed(monkeypatch, start):
    """A byte now and then does not extend the deadline."""
    monkeypatch.setattr(connections, "HEAD_TIMEOUT", 0.2)
    receiver = await start()
    async with on_wire(receiver.port) as wire:
        assert await drip(wire, b"POST /webhooks/messaging HTTP/1.1\r\nHost: x\r\n") is None
    assert receiver.webhooks() == []
    assert (await receiver.send(GOOD)).status == 200


async def test_a_connection_that_has_sent_a_request_is_kept(monkeypatch, start):
    """The deadline is for the first request only: a proxy can keep its connection and use it again."""
    monkeypatch.setattr(connections, "HEAD_TIMEOUT", 0.05)
    receiver = await start()
    async with on_wire(receiver.port) as silent, on_wire(receiver.port) as wire:
        await wire.send(whole(GOOD))
        assert (await wire.answer()).status == 200
        assert await silent.answer() is None  # its deadline has passed, and so has the other one's
        await wire.send(whole(GOOD))
        assert (await wire.answer()).status == 200


async def test_body_that_drips_is_refused(monkeypatch, start):
    """A body that does not arrive in time is answered 400, and its rest is not awaited."""
    monkeypatch.setattr(bodies, "BODY_TIMEOUT", 0.2)
    monkeypatch.setattr(connections, "LINGER", 0.1)
    receiver = await start()
    async with on_wire(receiver.port) as wire:
        await wire.send(head(GOOD, length=len(GOOD.body)))
        answer = await drip(wire, GOOD.body[:20])
    assert (answer.status, answer.body) == (400, b"")
    assert (await receiver.send(GOOD)).status == 200


async def test_chunks_without_an_end_are_refused(monkeypatch, start):
    """The answer comes at the limit, and a caller that continues to send is closed soon after."""
    monkeypatch.setattr(connections, "LINGER", 0.1)
    receiver = await start(ROUTER_MAX_BODY_BYTES="1024")
    async with on_wire(receiver.port) as wire:
        await wire.send(head(GOOD, length=None))

        async def is_closed():
            await wire.send(b"100\r\n" + b"x" * 256 + b"\r\n")
            return wire.reader.at_eof() or wire.writer.is_closing()

        await until(is_closed)
        answer = await wire.answer()
    assert answer is None or (answer.status, answer.body) == (413, b"")
    (line,) = receiver.webhooks()
    assert line["status"] == 413


def test_dropping_does_not_wait_for_the_reader():
    """A caller that does not read is closed at once and unread data is discarded, on asyncio and on uvloop."""

    async def drop_one():
        loop, made = asyncio.get_running_loop(), []
        make = connections.connection_factory(web.Server(lambda _: None), loop, 10)
        listener = await loop.create_server(lambda: made.append(make()) or made[-1], "127.0.0.1", 0)
        caller = await dial(listener.sockets[0].getsockname()[1])
        await until(lambda: made and made[0].transport)
        limit, transport = made[0]._limit, made[0].transport
        transport.write(b"x" * 50_000_000)
        assert len(limit) == 1
        made[0].drop()
        await until(lambda: not len(limit))
        listener.close()
        await caller.close()
        return transport.get_write_buffer_size()

    assert uvloop.run(drop_one()) == asyncio.run(drop_one()) == 0


async def test_the_connection_idle_longest_is_closed_for_a_new_one(start):
    """At the limit a new connection is accepted, and the one that was answered last is not closed for it."""
    receiver = await start(ROUTER_MAX_CONNECTIONS="16")
    async with on_wire(receiver.port) as kept, on_wire(receiver.port) as oldest:
        await kept.send(whole(GOOD))
        assert (await kept.answer()).status == 200
        others = [await dial(receiver.port) for _ in range(14)]
        await kept.send(whole(GOOD))
        assert (await kept.answer()).status == 200
        async with on_wire(receiver.port) as newest:
            await newest.send(whole(GOOD))
            assert (await newest.answer()).status == 200
            assert await oldest.answer() is None
            await kept.send(whole(GOOD))
            assert (await kept.answer()).status == 200
    for other in others:
        await other.close()


async def test_closed_connections_are_not_counted():
    """The limit counts open connections only, also after a late answer on a closed one."""
    limit = connections.ConnectionLimit(2)
    first, second = object(), object()
    limit.add(first)
    limit.add(second)
    limit.remove(first)
    limit.touch(first)  # an answer that was still under way
    assert len(limit) == 1
    limit.remove(first)
    limit.remove(second)
    assert len(limit) == 0


async def test_large_bodies_in_transfer_share_a_memory_limit(monkeypatch, start):
    """Half-sent large bodies fill the limit: another large one is answered 503, and small ones pass."""
    monkeypatch.setattr(authentication, "LARGE_AT_ONCE", 2048)
    monkeypatch.setattr(authentication, "SMALL", 1000)
    monkeypatch.setattr(bodies, "PATIENCE", 600.0)
    receiver = await start(ROUTER_MAX_BODY_BYTES="2000")
    async with on_wire(receiver.port) as wire:
        await wire.send(head(GOOD, length=1900) + b"x" * 1000)
        large = signed(sms(2, Padding="x" * 1200))

        async def is_refused():
            async with on_wire(receiver.port) as other:
                await other.send(head(large, length=len(large.body)) + large.body[:10])
                answer = await other.answer()
                return answer if answer.status == 503 else None

        answer = await until(is_refused)
        assert (answer.body, answer.headers["retry-after"]) == (b"", "5")
        assert (await receiver.send(GOOD)).status == 200
    assert await until(lambda: sends_large(receiver, large))


async def sends_large(receiver, request):
    async with on_wire(receiver.port) as wire:
        await wire.send(whole(request))
        return (await wire.answer()).status == 200


async def test_mails_in_transfer_are_limited(monkeypatch, start):
    """While unfinished mails fill the limit another one is answered 503, and webhooks pass."""
    monkeypatch.setattr(mail_authentication, "MAILS_AT_ONCE", 1)
    monkeypatch.setattr(bodies, "PATIENCE", 600.0)
    receiver = await start()
    mail = signed(mail_received())
    async with on_wire(receiver.port) as wire:
        await wire.send(head(mail, length=len(mail.body)) + mail.body[:100])

        async def is_refused():
            return (await receiver.send(mail)).status == 503

        await until(is_refused)
        assert (await receiver.send(signed(participant_added()))).status == 200
    await until(lambda: sends(receiver, mail))


async def sends(receiver, request):
    return (await receiver.send(request)).status == 200


def test_a_reservation_is_released_in_every_case():
    """A body that failed takes no bytes from the next one."""
    in_flight = InFlightBytes(10, small=2)
    for _ in range(3):
        with pytest.raises(KeyError), in_flight.reserve(10):
            raise KeyError
    reserve = in_flight.reserve
    with reserve(8), reserve(2), reserve(1), pytest.raises(bodies.NotDurableError), reserve(3):
        raise AssertionError("3 bytes were not free")


@pytest.fixture
def files():
    """The limit of open files, restored afterwards."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield limits
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_the_limit_of_open_files_is_raised_as_far_as_the_host_allows(files):
    """The number of connections is the wanted one, or less if the process cannot open so many files."""
    _, hard = files
    resource.setrlimit(resource.RLIMIT_NOFILE, (600, hard))
    assert allow_files(100) == 100
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 600
    assert allow_files(700) == 700
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 956
    if hard != resource.RLIM_INFINITY:
        assert allow_files(hard * 2) == hard - 256


async def test_the_rest_of_a_refused_body_is_discarded_at_a_pace(monkeypatch, start):
    """A caller that sends megabytes gets its answer at once, is read slowly, and can use its connection again."""
    taken, pauses = [], ReadingPace.delay
    monkeypatch.setattr(ReadingPace, "delay", lambda self, size, n=0: taken.append(size) or pauses(self, size, n))
    receiver = await start()
    async with on_wire(receiver.port) as wire:
        await wire.send(head(GOOD, length=2_000_000))
        assert (await wire.answer()).status == 413
        await wire.send(b"x" * 2_000_000)
        await wire.send(whole(GOOD))
        assert (await wire.answer()).status == 200
        await wire.send(whole(signed(sms(2))))
        assert (await wire.answer()).status == 200
    assert len(taken) > 2
    assert 1_000_000 < sum(taken) < 2_100_000


async def test_refused_bodies_one_after_the_other_are_discarded_in_order(start):
    """A caller that sends the next request without a pause has each one answered for itself."""
    receiver = await start()
    async with on_wire(receiver.port) as wire:
        refused = head(GOOD, length=1_000_000) + b"x" * 1_000_000
        sending = asyncio.create_task(wire.send(refused * 8 + whole(GOOD)))
        assert [(await wire.answer()).status for _ in range(9)] == [413] * 8 + [200]
        await sending


@pytest.fixture
async def discarding(monkeypatch, start):
    """A function that makes a receiver for 16 connections discard the rests of so many bodies.

    It returns the receiver, a connection on which a webhook was answered before, and those that discard.
    """
    monkeypatch.setattr(bodies, "RATE", 1000)
    async with AsyncExitStack() as stack:

        async def discard(number):
            receiver = await start(ROUTER_MAX_CONNECTIONS="16")
            kept, *others = [await stack.enter_async_context(on_wire(receiver.port)) for _ in range(1 + number)]
            await kept.send(whole(GOOD))
            assert (await kept.answer()).status == 200
            for other in others:
                await other.send(head(GOOD, length=2_000_000) + b"x" * 1000)
                assert (await other.answer()).status == 413
                await other.send(b"x" * 100_000)
            return receiver, kept, others

        yield discard


async def test_a_crowd_closes_connections_that_only_discard(discarding):
    """Strangers whose bodies are refused do not cost a proxy its idle connection."""
    receiver, kept, others = await discarding(15)
    async with on_wire(receiver.port) as newest:
        await newest.send(whole(GOOD))
        assert (await newest.answer()).status == 200
        assert await others[0].answer() is None
        await kept.send(whole(GOOD))
        assert (await kept.answer()).status == 200


async def test_few_connections_discard_at_once(monkeypatch, discarding):
    """Beyond the limit the first of them is closed; its answer was sent long before."""
    monkeypatch.setattr(connections, "DISCARDING", 3)
    _, kept, others = await discarding(5)
    assert [await other.answer() for other in others[:2]] == [None, None]
    assert not any(other.reader.at_eof() for other in others[2:])
    await kept.send(whole(GOOD))
    assert (await kept.answer()).status == 200


# --- chunks ----------------------------------------------------------------------------------------------------------

TINY = b"1\r\nx\r\n" * 60_000
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def chunks(monkeypatch):
    """The number of chunks that have been parsed, in the only element of a list."""
    count, parse = [0], StreamReader.end_http_chunk_receiving

    def counting(self):
        count[0] += 1
        parse(self)

    monkeypatch.setattr(StreamReader, "end_http_chunk_receiving", counting)
    return count


@pytest.mark.parametrize(
    ("begin", "status"),
    [
        (head(GOOD, length=None), 413),
        (head(signed(mail_received()), length=None), 413),
        (head(GOOD.but(path="/nowhere"), length=None), 404),
        (HEALTH, 200),
    ],
    ids=["webhook", "mail", "unknown path", "health"],
)
async def test_tiny_chunks_are_not_parsed_to_their_end(monkeypatch, start, chunks, begin, status):
    """A body in chunks of a byte is answered, late, after a bounded number of them, and none is parsed afterwards."""
    paced, pauses = [], ReadingPace.delay
    monkeypatch.setattr(ReadingPace, "delay", lambda self, size, n=0: paced.append(n) or pauses(self, size, n))
    receiver = await start()
    async with on_wire(receiver.port) as wire:
        sending = asyncio.create_task(wire.send(begin + TINY))
        assert (await wire.answer()).status == status
        await sending
        await wire.send(b"0\r\n\r\n" + whole(GOOD))
        assert (await receiver.send(GOOD)).status == 200
        assert 0 < chunks[0] < 1500
        assert sum(paced) > chunks[0] * 0.9


async def test_a_complete_body_in_many_chunks_is_paced(monkeypatch, start):
    """Parsing the chunks of a forged form counts, also where they are few enough to be read."""
    paced = []
    monkeypatch.setattr(ReadingPace, "delay", lambda _, __, chunks=0: paced.append(chunks) or 0.0)
    receiver = await start()
    for request, status in ((GOOD.but(body=GOOD.body[:200]), 403), (GOOD.but(path="/nowhere"), 404)):
        async with on_wire(receiver.port) as wire:
            await wire.send(head(request, length=None) + b"1\r\nx\r\n" * 200 + b"0\r\n\r\n")
            assert (await wire.answer()).status == status
        assert sum(paced) == 200
        paced.clear()


@pytest.mark.parametrize("size", [1, 1000])
async def test_a_signed_body_in_chunks_is_accepted(start, size):
    """A few small chunks, or any number that are not small, are a body like any other."""
    request = signed(sms(Padding="x" * 300_000)) if size > 1 else signed(sms())
    pieces = [request.body[at : at + size] for at in range(0, len(request.body), size)]
    pieces = pieces if size > 1 else [*pieces[:100], request.body[100:]]
    data = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    receiver = await start()
    async with on_wire(receiver.port) as wire:
        for _ in range(2):
            await wire.send(head(request, length=None) + data + b"0\r\n\r\n")
            assert (await wire.answer()).status == 200
