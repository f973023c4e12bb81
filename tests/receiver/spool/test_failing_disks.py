"""A spool whose disk fails, and Redis away or back: quick answers as `/readyz` has it, and no event overtaken."""

from __future__ import annotations

import asyncio
import shutil
import time

import orjson
import pytest

from router.core.errors import NotDurableError
from router.core.keys import Keys
from router.receiver.spool import drainer, turns
from router.receiver.spool.spool import Spool
from router.simulator.messages import message
from tests.receiver.samples import OURS, signed
from tests.receiver.spool.failing_disks import fill_up, make_read_only, no_folder, no_room, small_disk
from tests.receiver.spool.test_journal import event
from tests.receiver.spool.test_spooling import events, results
from tests.support.accounts import ACCOUNT
from tests.support.waiting import deadline, scaled, until

pytestmark = [pytest.mark.promise(1), pytest.mark.promise(3)]

#: Webhooks that are refused while nothing works: each waits for an answer of Redis first.
REFUSED = 20
#: The ways in which a disk fails while a receiver runs: each takes the folder of its spool.
FAILURES = {
    "no room": lambda _: no_room(),
    "no folder": no_folder,
}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    """Redis is tried again after short pauses, and has time enough to answer on a slow machine."""
    monkeypatch.setattr(drainer, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(turns, "LOOK_TIMEOUT", scaled(0.2))


@pytest.fixture
async def server(own_server, clients):
    """A running server for this test only, with a client in `server.redis`."""
    own_server.redis = clients(own_server.url)
    return own_server


@pytest.fixture(params=FAILURES)
def fails(request, tmp_path):
    """A context in which the disk of the spool fails."""
    return lambda: FAILURES[request.param](tmp_path / "spool")


async def send(receiver, customer, *numbers):
    """Send messages of a customer, one after the other; returns the statuses."""
    found = []
    for number in numbers:
        sms = message(
            "sms",
            account_sid=ACCOUNT,
            sender=f"+1555010{customer:04d}",
            recipient=OURS,
            body="hi",
            sid=f"SM{customer:04x}{number:028x}",
        )
        found.append((await receiver.send(signed(sms))).status)
    return found


async def ready(receiver):
    """The status of `/readyz`, with what it says of Redis and of the spool."""
    answer = await receiver.get("/readyz")
    body = orjson.loads(answer.body)
    assert (body["status"] == "ready") is (answer.status == 200)
    return answer.status, body["redis"], body["spool"]["status"]


async def arrived(redis):
    """The messages in the stream, in its order: customer and number of each."""
    sids = [fields[b"key"].rpartition(b"SM")[2] for _, fields in await redis.xrange(Keys().inbound(0))]
    return [(int(sid[:4], 16), int(sid[4:], 16)) for sid in sids]


async def inactive(receiver):
    async def is_over():
        return not orjson.loads((await receiver.get("/readyz")).body)["spool"]["on"]

    await until(is_over)


async def test_a_failed_disk_is_bypassed_once_redis_answers(start, server, fails):
    """While neither place works the answer is 503, and 200 from the moment at which Redis is back, in order."""
    receiver = await start(server_url=server.url)
    await send(receiver, 1, 1)
    server.stall()
    assert await send(receiver, 1, *range(2, 20)) == [200] * 18
    with fails():
        for number in range(20, 25):
            assert (await ready(receiver))[0] == 503
            assert await send(receiver, 1, number) == [503]
        server.resume()
        assert await send(receiver, 1, 30, 31) == [200] * 2
        assert await send(receiver, 2, 30) == [200]
        assert (await ready(receiver))[:2] == (200, "ok")
        await inactive(receiver)
        assert await send(receiver, 1, 32) == [200]
    assert await arrived(server.redis) == [
        *((1, number) for number in range(1, 20)),
        (1, 30),
        (1, 31),
        (2, 30),
        (1, 32),
    ]
    assert [line["events"] for line in events(receiver, "spool.drained")] == [18]


async def test_nobody_waits_when_neither_place_works(start, server, fails):
    """Only the first webhooks find out that Redis hangs; the others are refused without its timeouts."""
    receiver = await start(server_url=server.url)
    await send(receiver, 1, 1)
    with fails():
        server.stall()
        assert await send(receiver, 1, 2) == [503]
        begun = time.monotonic()
        answers = await asyncio.gather(*(send(receiver, customer, *range(5)) for customer in range(2, 12)))
        assert answers == [[503] * 5] * 10
        assert (await ready(receiver))[0] == 503
        assert time.monotonic() - begun < scaled(3)  # a single timeout of Redis is 2 seconds
        server.resume()
        assert await send(receiver, 1, 3) == [200]


async def test_a_disk_that_has_failed_unnoticed_is_noticed_by_readiness(start, server, fails):
    """No webhook has told yet that neither place works, nor that the disk is well again."""
    receiver = await start(server_url=server.url)
    await send(receiver, 1, 1)
    with fails():
        assert (await ready(receiver))[0] == 200
        server.kill()
        assert (await ready(receiver))[0] == 503
        assert await send(receiver, 1, 2) == [503]
    assert (await ready(receiver))[0] == 200
    assert await send(receiver, 1, 3) == [200]
    assert results(receiver) == ["accepted", "not-durable", "spooled"]
    await server.start()
    await inactive(receiver)


@pytest.mark.parametrize(("setting", "wrong", "right"), [("maxmemory", "1", "0"), ("min-replicas-to-write", "1", "0")])
async def test_a_redis_that_answers_and_takes_nothing_is_not_ready(start, server, fails, setting, wrong, right):
    """PING is answered, a webhook could not be stored: full, or without enough replicas."""
    receiver = await start(server_url=server.url)
    await send(receiver, 1, 1)
    with fails():
        await server.redis.config_set(setting, wrong)
        assert (await ready(receiver))[0] == 503
        assert await send(receiver, 1, 2, 3) == [503] * 2
        assert (await ready(receiver))[0] == 503
        await server.redis.config_set(setting, right)
        assert await send(receiver, 1, 4) == [200]
        assert (await ready(receiver))[0] == 200
    assert len(events(receiver, "spool.begun")) == 1
    assert await arrived(server.redis) == [(1, 1), (1, 4)]


async def test_a_folder_that_was_removed_is_made_again(start, server, tmp_path):
    """What was spooled can still be read, and what comes now is in a file that outlives the process."""
    receiver = await start(server_url=server.url)
    server.kill()
    assert await send(receiver, 1, *range(1, 6)) == [200] * 5
    shutil.rmtree(tmp_path / "spool")
    assert (await ready(receiver))[0] == 200
    assert await send(receiver, 1, *range(6, 11)) == [200] * 5
    (path,) = (tmp_path / "spool").glob("*.sqlite")
    assert path.stat().st_size
    await server.start()
    await inactive(receiver)
    assert await arrived(server.redis) == [(1, number) for number in range(1, 11)]


async def test_a_folder_in_which_no_file_can_be_made_is_no_failure_while_one_is_open(start, server, tmp_path):
    """Permissions concern new files; whoever runs as root is not held by them, and both answers are the same."""
    receiver = await start(server_url=server.url)
    server.kill()
    assert await send(receiver, 1, 1) == [200]
    (tmp_path / "spool").chmod(0o500)
    try:
        assert (await ready(receiver))[0] == 200
        assert await send(receiver, 1, 2) == [200]
    finally:
        (tmp_path / "spool").chmod(0o700)
    await server.start()
    await inactive(receiver)
    assert await arrived(server.redis) == [(1, 1), (1, 2)]


async def test_a_small_disk_fills_up_and_is_drained(start, server, tmp_path):
    """ENOSPC: every 200 arrives once and in order; from one 503 on there is no 200 until Redis is back."""
    with small_disk(tmp_path / "spool"):
        receiver = await start(server_url=server.url)
        await send(receiver, 1, 1)
        server.stall()
        statuses = []
        while statuses.count(503) < REFUSED:
            statuses += await send(receiver, 1, len(statuses) + 2)
        assert (await ready(receiver))[0] == 503
        taken = len(statuses) - REFUSED
        assert taken > 10
        assert statuses == [200] * taken + [503] * REFUSED
        server.resume()
        assert await send(receiver, 1, 2000) == [200]
        await inactive(receiver)
        assert await arrived(server.redis) == [(1, number) for number in (*range(1, taken + 2), 2000)]
        server.kill()
        assert await send(receiver, 1, 2001) == [200]  # what could not be deleted has left with its file
        await server.start()
        await inactive(receiver)


async def test_a_disk_full_of_something_else_is_usable_once_it_has_room(start, server, tmp_path):
    """A disk without room is found out before a webhook needs it, and so is new room."""
    with small_disk(tmp_path / "spool"):
        receiver = await start(server_url=server.url)
        await send(receiver, 1, 1)
        other = fill_up(tmp_path / "spool")
        server.kill()
        assert (await ready(receiver))[0] == 503
        assert await send(receiver, 1, 2) == [503]
        other.unlink()
        assert (await ready(receiver))[0] == 200
        assert await send(receiver, 1, 3) == [200]
        await server.start()
        await inactive(receiver)
        assert await arrived(server.redis) == [(1, 1), (1, 3)]


async def test_a_read_only_disk_leaves_redis(start, server, tmp_path):
    """EROFS from the start: events of a dead process wait on it, webhooks go to Redis or are answered 503."""
    with small_disk(tmp_path / "spool", "1m"):
        make_read_only(tmp_path / "spool")
        receiver = await start(server_url=server.url)
        assert (await ready(receiver))[:1] == (200,)
        assert await send(receiver, 1, 1) == [200]
        server.stall()
        assert await send(receiver, 1, 2, 3) == [503] * 2
        assert (await ready(receiver))[0] == 503
        server.resume()
        assert await send(receiver, 1, 4) == [200]
    assert "Read-only file system" in receiver.output.getvalue()


# --- whose turn it is -------------------------------------------------------------------------------------------------


@pytest.fixture
async def spool(tmp_path):
    """An active spool with an event of the subject "a", whose disk has no room any more."""
    spool = Spool(tmp_path / "spool", "router", 10_000_000)
    await spool.maintain()
    spool.activate("test")
    await spool.put(event(1, subject="a"))
    with no_room():
        yield spool
    await spool.close()


async def test_an_event_goes_past_those_of_other_subjects_only(spool):
    """It is next at once unless its own subject has older events, which it waits for."""
    spool.turns.note_redis(None)
    async with deadline(10):
        await spool.wait_for_turn(event(2, subject="b"), 60)
        await spool.wait_for_turn(event(2, subject="a", account_id="AC2"), 60)
        behind = asyncio.create_task(spool.wait_for_turn(event(3, subject="a"), 60))
        await asyncio.sleep(0)
        await spool.wait_for_turn(event(4, subject="b"), 60)
        assert not behind.done()
        await spool.remove(None, await spool.read(None, 0, 9))
        await behind


async def test_an_event_does_not_wait_for_its_turn_forever(spool):
    """The drain takes too long: it is refused, and has not overtaken its subject's older events."""
    spool.turns.note_redis(None)
    with pytest.raises(NotDurableError, match="on their way"):
        await spool.wait_for_turn(event(2, subject="a"), 0.01)


async def test_a_drain_that_ends_early_refuses_those_who_wait(spool):
    """Redis is away again: nobody waits for the rest of the limit."""
    spool.turns.note_redis(None)
    behind = asyncio.create_task(spool.wait_for_turn(event(3, subject="a"), 600))
    await asyncio.sleep(0)
    spool.turns.note_redis("ConnectionError: gone")
    with pytest.raises(NotDurableError, match="gone"):
        async with deadline(10):
            await behind


@pytest.mark.parametrize("is_back", [True, False])
async def test_whoever_asks_for_redis_makes_the_drainer_look(spool, is_back):
    """An event is told what the attempt finds that is made for it."""
    spool.turns.note_redis("TimeoutError: ")
    asking = asyncio.create_task(spool.turns.look_for_redis())
    async with deadline(10):
        assert await spool.turns.wait_until_wanted(60)
    spool.turns.note_redis(None if is_back else "ConnectionError: gone")
    assert await asking == (None if is_back else "ConnectionError: gone")
