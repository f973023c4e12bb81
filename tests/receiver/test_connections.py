"""Connections of strangers: silent, slow, endless, too many; each ends by itself, and honest webhooks pass."""

import asyncio
import resource

import pytest
import uvloop
from aiohttp import web

from router.receiver import authentication as door
from router.receiver import bodies, connections
from router.receiver import mail_authentication as mail_door
from router.receiver.bodies import InFlightBytes
from router.receiver.connections import allow_files
from tests.receiver.samples import mail_received, participant_added, signed, sms
from tests.receiver.wire import head
from tests.support.raw_http import dial, on_wire
from tests.support.waiting import until

GOOD = signed(sms())


def port_of(receiver):
    return int(receiver.url.rpartition(":")[2])


def whole(request):
    return head(request, length=len(request.body)) + request.body


async def drip(wire, data):
    """Send a byte at a time until there is an answer or the end of the connection; returns which."""
    sent = iter(data)
    answer = asyncio.create_task(wire.answer())

    async def is_over():
        await wire.send(bytes([next(sent, ord("x"))]))
        return answer.done()

    await until(is_over)
    return answer.result()


@pytest.mark.parametrize("begun", [b"", b"POST /webhooks/messaging HTTP/1.1\r\nHost: x\r\nX-A: "])
async def test_connection_that_asks_nothing_is_closed(monkeypatch, start, begun):
    """Whoever sends nothing, or half a head, is closed after a while; without an answer, as there was no question."""
    monkeypatch.setattr(connections, "HEAD_TIMEOUT", 0.2)
    receiver = await start()
    async with on_wire(port_of(receiver)) as wire:
        await wire.send(begun)
        assert await wire.answer() is None
    assert receiver.webhooks() == []


async def test_head_that_drips_is_closed(monkeypatch, start):
    """A byte now and then buys no time."""
    monkeypatch.setattr(connections, "HEAD_TIMEOUT", 0.2)
    receiver = await start()
    async with on_wire(port_of(receiver)) as wire:
        assert await drip(wire, b"POST /webhooks/messaging HTTP/1.1\r\nHost: x\r\n") is None
    assert receiver.webhooks() == []
    assert (await receiver.send(GOOD)).status == 200


async def test_connection_that_has_asked_is_kept(monkeypatch, start):
    """The deadline is that of the first request: a proxy keeps its connection, and uses it again."""
    monkeypatch.setattr(connections, "HEAD_TIMEOUT", 0.05)
    receiver = await start()
    async with on_wire(port_of(receiver)) as silent, on_wire(port_of(receiver)) as wire:
        await wire.send(whole(GOOD))
        assert (await wire.answer()).status == 200
        assert await silent.answer() is None  # its time is over, and so would be the other's
        await wire.send(whole(GOOD))
        assert (await wire.answer()).status == 200


async def test_body_that_drips_is_refused(monkeypatch, start):
    """A body that does not come is 400 in the end, and the rest of it is not waited for."""
    monkeypatch.setattr(door, "BODY_TIMEOUT", 0.2)
    monkeypatch.setattr(connections, "LINGER", 0.1)
    receiver = await start()
    async with on_wire(port_of(receiver)) as wire:
        await wire.send(head(GOOD, length=len(GOOD.body)))
        answer = await drip(wire, GOOD.body[:20])
    assert (answer.status, answer.body) == (400, b"")
    assert (await receiver.send(GOOD)).status == 200


async def test_chunks_without_an_end_are_refused(monkeypatch, start):
    """At the limit there is an answer; whoever goes on sending is not listened to for long."""
    monkeypatch.setattr(connections, "LINGER", 0.1)
    receiver = await start(ROUTER_MAX_BODY_BYTES="1024")
    async with on_wire(port_of(receiver)) as wire:
        await wire.send(head(GOOD, length=None))

        async def is_closed():
            await wire.send(b"100\r\n" + b"x" * 256 + b"\r\n")
            return wire.reader.at_eof() or wire.writer.is_closing()

        await until(is_closed)
        answer = await wire.answer()
    assert answer is None or (answer.status, answer.body) == (413, b"")
    (line,) = receiver.webhooks()
    assert line["status"] == 413


def test_dropping_waits_for_no_reader_on_any_loop():
    """Whoever does not read is gone at once, with what it was sent: also on uvloop, which serves."""

    async def drop_one():
        loop, made = asyncio.get_running_loop(), []
        make = connections.connections(web.Server(lambda _: None), loop, 10)
        listener = await loop.create_server(lambda: made.append(make()) or made[-1], "127.0.0.1", 0)
        caller = await dial(listener.sockets[0].getsockname()[1])
        await until(lambda: made and made[0].transport)
        crowd, transport = made[0]._crowd, made[0].transport
        transport.write(b"x" * 50_000_000)
        assert len(crowd) == 1
        made[0].drop()
        await until(lambda: not len(crowd))
        listener.close()
        await caller.close()
        return transport.get_write_buffer_size()

    assert uvloop.run(drop_one()) == asyncio.run(drop_one()) == 0


async def test_the_one_that_waits_longest_makes_room(start):
    """Where there is no room a new connection finds some; who has just been answered is not the one that goes."""
    receiver = await start(ROUTER_MAX_CONNECTIONS="16")
    async with on_wire(port_of(receiver)) as kept, on_wire(port_of(receiver)) as oldest:
        await kept.send(whole(GOOD))
        assert (await kept.answer()).status == 200
        others = [await dial(port_of(receiver)) for _ in range(14)]
        await kept.send(whole(GOOD))
        assert (await kept.answer()).status == 200
        async with on_wire(port_of(receiver)) as newest:
            await newest.send(whole(GOOD))
            assert (await newest.answer()).status == 200
            assert await oldest.answer() is None
            await kept.send(whole(GOOD))
            assert (await kept.answer()).status == 200
    for other in others:
        await other.close()


async def test_closed_connections_leave_nothing_behind():
    """The crowd knows those that are open, and nobody else."""
    crowd = connections.ConnectionLimit(2)
    first, second = object(), object()
    crowd.enter(first)
    crowd.enter(second)
    crowd.leave(first)
    crowd.touch(first)  # an answer that was still under way
    assert len(crowd) == 1
    crowd.leave(first)
    crowd.leave(second)
    assert len(crowd) == 0


async def test_large_bodies_on_their_way_have_bounded_room(monkeypatch, start):
    """Half-sent large bodies fill their room and no more: another large one is told to come again, small ones pass."""
    monkeypatch.setattr(door, "LARGE_AT_ONCE", 2048)
    monkeypatch.setattr(door, "SMALL", 1000)
    receiver = await start(ROUTER_MAX_BODY_BYTES="2000")
    async with on_wire(port_of(receiver)) as wire:
        await wire.send(head(GOOD, length=1900) + b"x" * 1000)
        large = signed(sms(2, Padding="x" * 1200))

        async def is_told():
            async with on_wire(port_of(receiver)) as other:
                await other.send(head(large, length=len(large.body)) + large.body[:10])
                answer = await other.answer()
                return answer if answer.status == 503 else None

        answer = await until(is_told)
        assert (answer.body, answer.headers["retry-after"]) == (b"", "5")
        assert (await receiver.send(GOOD)).status == 200
    assert await until(lambda: sends_large(receiver, large))


async def sends_large(receiver, request):
    async with on_wire(port_of(receiver)) as wire:
        await wire.send(head(request, length=len(request.body)) + request.body)
        return (await wire.answer()).status == 200


async def test_mails_on_their_way_are_counted(monkeypatch, start):
    """Mails that do not come hold their places; one more is told to come again, and webhooks pass."""
    monkeypatch.setattr(mail_door, "MAILS_AT_ONCE", 1)
    receiver = await start()
    mail = signed(mail_received())
    async with on_wire(port_of(receiver)) as wire:
        await wire.send(head(mail, length=len(mail.body)) + mail.body[:100])

        async def is_told():
            return (await receiver.send(mail)).status == 503

        await until(is_told)
        assert (await receiver.send(signed(participant_added()))).status == 200
    await until(lambda: sends(receiver, mail))


async def sends(receiver, request):
    return (await receiver.send(request)).status == 200


def test_a_place_is_given_back_whatever_happens():
    """What went wrong with one body takes no room from the next."""
    room = InFlightBytes(10, small=2)
    for _ in range(3):
        with pytest.raises(KeyError), room.place(10):
            raise KeyError
    with room.place(8), room.place(2), room.place(1), pytest.raises(bodies.NotDurableError), room.place(3):
        raise AssertionError("there was no room")


@pytest.fixture
def files():
    """The limit of open files, put back afterwards."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield limits
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_limit_of_open_files_is_raised_as_far_as_it_goes(files):
    """A process may have as many connections as wanted, or as its host allows: never more than it can open."""
    _, hard = files
    resource.setrlimit(resource.RLIMIT_NOFILE, (600, hard))
    assert allow_files(100) == 100
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 600
    assert allow_files(700) == 700
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 956
    if hard != resource.RLIM_INFINITY:
        assert allow_files(hard * 2) == hard - 256
