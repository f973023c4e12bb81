"""Promise 1 while Redis is away: a 200 means that the event is in Redis or on disk, and it arrives once, in order."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import aiohttp
import orjson
import pytest
from yarl import URL

from router.core.keys import Keys
from router.receiver.spool import drainer
from router.streams.client.connection import connect
from router.streams.client.embedded import free_port
from tests.harness.processes import start_process
from tests.harness.redis_server import RedisServer
from tests.receiver.samples import BASE, signed, sms
from tests.support.accounts import ACCOUNT, TOKEN
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.promise(1)]


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Redis is tried again soon: nobody wants to wait for a test."""
    monkeypatch.setattr(drainer, "LONGEST_PAUSE", 0.2)


@pytest.fixture
async def server(tmp_path):
    """A running server of the test's own, with a client in `server.redis`."""
    server = RedisServer(tmp_path)
    await server.start()
    server.redis = connect(server.url)
    yield server
    await server.redis.aclose()
    server.kill()


#: Numbers that one sender has: more than it gets to send while the test runs, on the fastest machine.
ROOM = 1_000_000


async def send(receiver, *numbers):
    return [(await receiver.send(signed(sms(number)))).status for number in numbers]


async def numbers_in(redis):
    """The numbers of the messages in the inbound stream, in its order."""
    rows = await redis.xrange(Keys().inbound(0))
    return [int(fields[b"key"].rpartition(b"SM")[2], 16) for _, fields in rows]


def results(receiver):
    return [line["result"] for line in receiver.webhooks()]


def events(receiver, name):
    return [line for line in receiver.lines if line["event"] == name]


async def spool_of(receiver):
    return orjson.loads((await receiver.get("/readyz")).body)["spool"]


async def is_drained(receiver):
    return not (await spool_of(receiver))["on"]


async def drained(receiver):
    await until(lambda: is_drained(receiver), 30)


async def test_webhooks_go_to_the_spool_while_redis_is_away_and_arrive_in_order(start, server):
    """Redis killed: 200 all the same; started again: everything is in the stream once, in the order it came."""
    receiver = await start(server_url=server.url)
    await send(receiver, 1, 2)
    server.kill()
    assert await send(receiver, *range(3, 30)) == [200] * 27
    await server.start()
    await drained(receiver)
    assert await send(receiver, 30) == [200]
    assert await numbers_in(server.redis) == list(range(1, 31))
    assert results(receiver) == ["accepted"] * 2 + ["spooled"] * 27 + ["accepted"]
    (begun,) = events(receiver, "spool.begun")
    assert "ConnectionError" in begun["reason"]
    (end,) = events(receiver, "spool.drained")
    assert end["events"] == 27


async def test_time_of_receipt_and_claim_are_those_of_the_webhook(start, server):
    """What was spooled arrives as it would have: its body, its time, its claim."""
    receiver = await start(server_url=server.url)
    server.kill()
    before = time.time_ns() // 1000
    await send(receiver, 1)
    after = time.time_ns() // 1000
    await server.start()
    await drained(receiver)
    ((_, fields),) = await server.redis.xrange(Keys().inbound(0))
    assert before <= int(fields[b"received_at"]) <= after
    assert fields[b"body"] == sms(1).body
    assert await server.redis.ttl(Keys().seen(0, fields[b"key"].decode())) > 80_000


async def test_repeats_within_the_spool_are_one(start, server):
    """A webhook repeated while Redis is away, and again afterwards, is one entry; every caller gets its 200."""
    receiver = await start(server_url=server.url)
    server.kill()
    assert await send(receiver, 1, 1, 1) == [200] * 3
    await server.start()
    await drained(receiver)
    assert await send(receiver, 1) == [200]
    assert await numbers_in(server.redis) == [1]
    assert results(receiver) == ["spooled", "duplicate", "duplicate", "duplicate"]


async def test_stalled_redis_is_noticed_in_time_and_doubles_nothing(start, server):
    """A Redis that hangs holds up the first callers for a moment and the next ones not at all; nothing doubles."""
    receiver = await start(server_url=server.url)
    await send(receiver, 1)
    server.stall()
    begun = time.monotonic()
    answers = await asyncio.gather(*[send(receiver, number) for number in range(2, 12)])
    first = time.monotonic() - begun
    assert answers == [[200]] * 10
    assert first < 4  # callers give up after 5 seconds, the strictest of them
    begun = time.monotonic()
    assert await send(receiver, *range(12, 40)) == [200] * 28
    assert time.monotonic() - begun < 28 * 0.5
    server.resume()
    await drained(receiver)
    found = await numbers_in(server.redis)
    assert sorted(found) == list(range(1, 40))


@pytest.mark.parametrize(
    ("setting", "wrong", "right", "word"),
    [
        ("maxmemory", "1", "0", "OutOfMemory"),
        ("min-replicas-to-write", "1", "0", "NOREPLICAS"),
    ],
)
async def test_redis_that_cannot_write(start, server, setting, wrong, right, word):
    """Out of memory, or without the replicas that it must have: the spool takes over until it can write again."""
    receiver = await start(server_url=server.url)
    await server.redis.config_set(setting, wrong)
    assert await send(receiver, 1, 2, 3) == [200] * 3
    assert word in events(receiver, "spool.begun")[0]["reason"]
    await server.redis.config_set(setting, right)
    await drained(receiver)
    assert await numbers_in(server.redis) == [1, 2, 3]


async def test_redis_that_became_a_replica(start, server):
    """READONLY after a failover is an outage as well."""
    receiver = await start(server_url=server.url)
    await server.redis.replicaof("127.0.0.1", str(free_port()))
    assert await send(receiver, 1, 2) == [200] * 2
    await server.redis.replicaof("NO", "ONE")
    await drained(receiver)
    assert await numbers_in(server.redis) == [1, 2]


async def test_wrong_type_at_the_stream_is_no_outage(start, server):
    """What waiting does not heal is a 503 that says so, not a 200 for an event that nobody can deliver."""
    receiver = await start(server_url=server.url)
    await server.redis.set(Keys().inbound(0), "no stream")
    assert await send(receiver, 1) == [503]
    assert "WRONGTYPE" in receiver.webhooks()[0]["reason"]
    assert not events(receiver, "spool.begun")


async def test_order_holds_while_webhooks_keep_coming(start, server, monkeypatch):
    """Senders that never pause cannot keep the spool on, and of each of them no message overtakes another."""
    monkeypatch.setattr(drainer, "BATCH", 8)
    receiver = await start(server_url=server.url)
    server.kill()
    await send(receiver, *range(1, 40))
    sent = {sender: [] for sender in range(4)}
    is_over = False

    async def sender(name):
        while not is_over:
            number = ROOM * (name + 1) + len(sent[name])
            assert await send(receiver, number) == [200]
            sent[name].append(number)

    tasks = [asyncio.create_task(sender(name)) for name in sent]
    await until(lambda: all(len(numbers) > 10 for numbers in sent.values()))
    await server.start()
    await until(lambda: events(receiver, "spool.drained"), 30)
    await until(lambda: results(receiver)[-1] == "accepted")
    is_over = True
    await asyncio.gather(*tasks)
    await drained(receiver)
    found = await numbers_in(server.redis)
    assert [number for number in found if number < ROOM] == list(range(1, 40))
    for name, numbers in sent.items():
        assert [number for number in found if number // ROOM == name + 1] == numbers


async def test_full_spool_is_a_503(start, server):
    """Past its bound nothing durable can take a webhook; when Redis is back, what was taken arrives."""
    receiver = await start(server_url=server.url, ROUTER_SPOOL_MAX_BYTES="40000")
    server.kill()
    statuses = await send(receiver, *range(1, 100))
    taken = statuses.count(200)
    assert statuses == [200] * taken + [503] * (99 - taken)
    assert 10 < taken < 99
    ready = await receiver.get("/readyz")
    assert (ready.status, orjson.loads(ready.body)["spool"]["status"]) == (503, "full")
    assert len(events(receiver, "spool.failed")) == 1
    await server.start()
    await drained(receiver)
    assert await send(receiver, 100) == [200]
    assert await numbers_in(server.redis) == [*range(1, taken + 1), 100]


async def test_folder_that_cannot_be_written(start, server, tmp_path):
    """Without a disk the receiver starts all the same, says so, and answers 503 while Redis is away."""
    (tmp_path / "file").write_text("no folder")
    receiver = await start(server_url=server.url, ROUTER_SPOOL_DIR=str(tmp_path / "file" / "spool"))
    assert events(receiver, "spool.failed")
    assert await send(receiver, 1) == [200]
    ready = await receiver.get("/readyz")
    assert (ready.status, orjson.loads(ready.body)["spool"]["status"]) == (200, "failed")
    server.kill()
    assert await send(receiver, 2) == [503]
    assert (await receiver.get("/readyz")).status == 503


async def test_readiness_and_metrics_tell_of_the_spool(start, server):
    """While the spool is on the receiver is ready: an operator sees how much waits there."""
    receiver = await start(server_url=server.url)
    assert (await spool_of(receiver))["status"] == "ok"
    server.kill()
    await send(receiver, 1, 2)
    ready = await receiver.get("/readyz")
    body = orjson.loads(ready.body)
    assert (ready.status, body["status"]) == (200, "ready")
    assert body["redis"] != "ok"
    assert (body["spool"]["on"], body["spool"]["entries"]) == (True, 2)
    text = (await receiver.get("/metrics")).body.decode()
    assert 'router_spool_entries{journal="own"} 2.0' in text
    assert 'router_spool_bytes{journal="own"}' in text
    await server.start()
    await drained(receiver)


async def post(url, number):
    request = signed(sms(number))
    async with (
        aiohttp.ClientSession() as session,
        session.post(URL(url + request.path, encoded=True), data=request.body, headers=request.headers()) as answer,
    ):
        return answer.status


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill -9", "SIGTERM"])
async def test_process_that_ends_with_a_full_spool_leaves_it_to_the_next(server, tmp_path, number):
    """Everything that was answered 200 by a process that is no more is in the stream once the next one runs."""
    environment = {
        "REDIS_URL": server.url,
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "PUBLIC_BASE_URL": BASE,
        "ROUTER_HOST": "127.0.0.1",
    }

    async def launch():
        process = await start_process(tmp_path, "router", "receive", "--port", str(free_port()), **environment)
        (line,) = await process.started()
        return process, f"http://127.0.0.1:{line['port']}"

    first, url = await launch()
    second = None
    try:
        server.kill()
        answers = await asyncio.gather(*[post(url, each) for each in range(1, 60)])
        assert answers == [200] * 59
        os.kill(first.pid, number)
        assert await first.wait() in {0, -signal.SIGKILL}
        await server.start()
        second, url = await launch()
        await until(lambda: second.find("spool.drained"), 30)
        assert await post(url, 60) == 200
        found = await numbers_in(server.redis)
        assert sorted(found) == list(range(1, 61))
        (adopted,) = second.find("spool.adopted")
        assert adopted["entries"] == 59
        assert await second.stop() == 0
        assert not list((tmp_path / "spool").glob("*.sqlite*"))
    finally:
        for process in (first, second):
            if process is not None:
                await process.kill()
