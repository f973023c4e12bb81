"""Promise 1 while Redis is down: a 200 means that the event is in Redis or on disk; it arrives once, in order."""

from __future__ import annotations

import asyncio
import signal
import time

import aiohttp
import orjson
import pytest
from yarl import URL

from router.core.keys import Keys
from router.receiver.readiness import REDIS_TIMEOUT
from router.receiver.spool import drainer
from router.simulator.mail import mail
from router.streams.client.embedded import free_port
from tests.receiver.samples import signed, sms
from tests.support.waiting import scaled, until

pytestmark = pytest.mark.promise(1)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    """Redis is tried again after short pauses, so that tests do not wait."""
    monkeypatch.setattr(drainer, "LONGEST_PAUSE", 0.2)


@pytest.fixture
async def server(own_server, clients):
    """A running server for this test only, with a client in `server.redis`."""
    own_server.redis = clients(own_server.url)
    return own_server


#: Numbers reserved for one sender: more than it can send during the test on the fastest machine.
NUMBERS = 1_000_000


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
    await until(lambda: is_drained(receiver))


async def test_webhooks_go_to_the_spool_while_redis_is_down_and_arrive_in_order(start, server):
    """With Redis killed the answer is 200; after its restart every event is in the stream once, in order of arrival."""
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


async def test_a_spooled_event_keeps_its_time_of_receipt_and_claim(start, server):
    """Its entry has the same body, time and claim as without the spool."""
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


async def test_a_mail_to_many_mailboxes_is_in_the_spool_once(start, server):
    """It takes little more space than to one mailbox; afterwards each mailbox has its entry, and all share the text."""
    receiver = await start(server_url=server.url)
    server.kill()
    boxes = [f"box-{number}@inbound.example.com" for number in range(50)]
    one = mail(sender="ana@example.com", recipients=boxes, subject="news", body="a long text, " * 4_000)
    assert (await receiver.send(signed(one))).status == 200
    spool = await spool_of(receiver)
    assert spool["entries"] == 50
    assert spool["bytes"] < len(one.body) + 50 * 1_500
    await server.start()
    await drained(receiver)
    rows = await server.redis.xrange(Keys().inbound(0))
    assert [orjson.loads(fields[b"body"])["recipient"] for _, fields in rows] == boxes
    (name,) = {fields[b"shared"] for _, fields in rows}
    assert set(await server.redis.hkeys(Keys().shared(0))) == {name, name + b" entries"}
    assert "a long text" in orjson.loads(await server.redis.hget(Keys().shared(0), name))["text"]


async def test_repeats_within_the_spool_make_one_entry(start, server):
    """A webhook repeated while Redis is down, and again afterwards, is one entry; every caller gets 200."""
    receiver = await start(server_url=server.url)
    server.kill()
    assert await send(receiver, 1, 1, 1) == [200] * 3
    await server.start()
    await drained(receiver)
    assert await send(receiver, 1) == [200]
    assert await numbers_in(server.redis) == [1]
    assert results(receiver) == ["spooled", "duplicate", "duplicate", "duplicate"]


async def test_a_stalled_redis_is_detected_in_time_and_makes_no_duplicates(start, server):
    """A hanging Redis delays the first callers for a moment and later ones not at all; each event is appended once."""
    receiver = await start(server_url=server.url)
    await send(receiver, 1)
    server.stall()
    begun = time.monotonic()
    answers = await asyncio.gather(*[send(receiver, number) for number in range(2, 12)])
    first = time.monotonic() - begun
    assert answers == [[200]] * 10
    assert first < REDIS_TIMEOUT + scaled(2)  # the strictest callers give up after 5 seconds
    begun = time.monotonic()
    assert await send(receiver, *range(12, 40)) == [200] * 28
    assert time.monotonic() - begun < scaled(28 * 0.5)
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
async def test_a_redis_that_cannot_write_activates_the_spool(start, server, setting, wrong, right, word):
    """Out of memory or without enough replicas, the spool takes over until Redis can write again."""
    receiver = await start(server_url=server.url)
    await server.redis.config_set(setting, wrong)
    assert await send(receiver, 1, 2, 3) == [200] * 3
    assert word in events(receiver, "spool.begun")[0]["reason"]
    await server.redis.config_set(setting, right)
    await drained(receiver)
    assert await numbers_in(server.redis) == [1, 2, 3]


async def test_a_redis_that_became_a_replica_activates_the_spool(start, server):
    """READONLY after a failover is an outage too."""
    receiver = await start(server_url=server.url)
    await server.redis.replicaof("127.0.0.1", str(free_port()))
    assert await send(receiver, 1, 2) == [200] * 2
    await server.redis.replicaof("NO", "ONE")
    await drained(receiver)
    assert await numbers_in(server.redis) == [1, 2]


async def test_a_wrong_type_at_the_streams_key_is_not_an_outage(start, server):
    """Waiting does not help, so the answer is 503 and not 200 for an event that cannot be delivered."""
    receiver = await start(server_url=server.url)
    await server.redis.set(Keys().inbound(0), "no stream")
    assert await send(receiver, 1) == [503]
    assert "WRONGTYPE" in receiver.webhooks()[0]["reason"]
    assert not events(receiver, "spool.begun")


async def test_order_holds_while_webhooks_keep_coming(start, server, monkeypatch):
    """Senders that never pause cannot keep the spool active, and no message of one of them overtakes another."""
    monkeypatch.setattr(drainer, "BATCH", 32)  # many times the senders, as in production, whatever a disk write costs
    receiver = await start(server_url=server.url)
    server.kill()
    await send(receiver, *range(1, 40))
    sent = {sender: [] for sender in range(4)}
    is_over = False

    async def sender(name):
        while not is_over:
            number = NUMBERS * (name + 1) + len(sent[name])
            assert await send(receiver, number) == [200]
            sent[name].append(number)

    tasks = [asyncio.create_task(sender(name)) for name in sent]
    await until(lambda: all(len(numbers) > 10 for numbers in sent.values()))
    await server.start()
    await until(lambda: events(receiver, "spool.drained"))
    await until(lambda: results(receiver)[-1] == "accepted")
    is_over = True
    await asyncio.gather(*tasks)
    await drained(receiver)
    found = await numbers_in(server.redis)
    assert [number for number in found if number < NUMBERS] == list(range(1, 40))
    for name, numbers in sent.items():
        assert [number for number in found if number // NUMBERS == name + 1] == numbers


async def test_a_full_spool_is_answered_503(start, server):
    """Above the limit no event is durable; once Redis is back, every event answered 200 arrives."""
    receiver = await start(server_url=server.url, ROUTER_SPOOL_MAX_BYTES="40000")
    server.kill()
    statuses = await send(receiver, *range(1, 100))
    accepted = statuses.count(200)
    assert statuses == [200] * accepted + [503] * (99 - accepted)
    assert 10 < accepted < 99
    ready = await receiver.get("/readyz")
    assert (ready.status, orjson.loads(ready.body)["spool"]["status"]) == (503, "full")
    assert len(events(receiver, "spool.failed")) == 1
    await server.start()
    await drained(receiver)
    assert await send(receiver, 100) == [200]
    assert await numbers_in(server.redis) == [*range(1, accepted + 1), 100]


async def test_a_folder_that_cannot_be_written_does_not_stop_the_start(start, server, tmp_path):
    """The receiver logs it, and answers 503 while Redis is down."""
    (tmp_path / "file").write_text("no folder")
    receiver = await start(server_url=server.url, ROUTER_SPOOL_DIR=str(tmp_path / "file" / "spool"))
    assert events(receiver, "spool.failed")
    assert await send(receiver, 1) == [200]
    ready = await receiver.get("/readyz")
    assert (ready.status, orjson.loads(ready.body)["spool"]["status"]) == (200, "failed")
    server.kill()
    assert await send(receiver, 2) == [503]
    assert (await receiver.get("/readyz")).status == 503


async def test_readiness_and_metrics_show_the_spool(start, server):
    """With an active spool the receiver is ready, and both show how many events wait."""
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
async def test_the_spool_of_a_process_that_ends_is_drained_by_the_next(server, launch, tmp_path, number):
    """Every event answered 200 by a process that has ended is in the stream once the next one runs."""

    async def launch_one():
        process = await launch(REDIS_URL=server.url)
        (line,) = await process.started()
        return process, f"http://127.0.0.1:{line['port']}"

    first, url = await launch_one()
    server.kill()
    answers = await asyncio.gather(*[post(url, each) for each in range(1, 60)])
    assert answers == [200] * 59
    assert await first.stop(number) in {0, -signal.SIGKILL}
    await server.start()
    second, url = await launch_one()
    await until(lambda: second.find("spool.drained"))
    assert await post(url, 60) == 200
    found = await numbers_in(server.redis)
    assert sorted(found) == list(range(1, 61))
    (adopted,) = second.find("spool.adopted")
    assert adopted["entries"] == 59
    assert await second.stop() == 0
    assert not list((tmp_path / "spool").glob("*.sqlite*"))
