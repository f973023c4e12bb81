"""The announcements of a process: alive every few seconds, gone at once in order, known for a day if it died."""

import asyncio

import pytest

from router.core.keys import Keys
from router.core.printable import masked
from router.operations.processes import list_processes
from router.process import announce
from router.process.announce import Announcer
from router.streams.client.connection import connect
from router.streams.store import announcements
from router.tasks import end
from tests.support.waiting import until

pytestmark = pytest.mark.real
KEYS = Keys()


@pytest.fixture(autouse=True)
def interval(monkeypatch):
    """Announce much more often than a process does."""
    monkeypatch.setattr(announce, "INTERVAL", 0.01)


async def test_a_process_is_listed_with_its_facts_until_it_ends(redis):
    """The facts are those of the last announcement, and an orderly end leaves nothing."""
    facts = {"spool": {"entries": 0}}
    announcer = Announcer(redis, KEYS, kind="web", facts=lambda: facts)
    announcing = asyncio.create_task(announcer.run())
    (process,) = await until(lambda: list_processes(redis, KEYS))
    assert (process.kind, process.is_alive, process.name) == ("web", True, announcer.name)
    assert masked(process.name) == process.name  # no part of it looks like a mailbox or a number
    assert process.started_at <= process.seen_at + 5_000_000
    facts["spool"]["entries"] = 7

    async def entries():
        return (await list_processes(redis, KEYS))[0].facts["spool"]["entries"] == 7

    await until(entries)
    await end(announcing)
    assert [key async for key in redis.scan_iter()] == []


async def test_a_process_that_dies_is_known_by_its_last_record(redis, monkeypatch):
    """Its name says which kind it was, also once the record is lost."""
    monkeypatch.setattr(announcements, "RECORD_LIFE", 1)
    await announcements.announce(redis, KEYS, "worker/host-1-a", b'{"facts":{"spool":7}}')

    async def is_dead():
        (process,) = await list_processes(redis, KEYS)
        return not process.is_alive and process

    process = await until(is_dead)
    assert (process.kind, process.pid, process.facts) == ("worker", 0, {"spool": 7})
    await redis.delete(KEYS.process("worker/host-1-a"))
    (process,) = await list_processes(redis, KEYS)
    assert (process.kind, process.is_alive, process.pid, process.facts) == ("worker", False, 0, {})


async def test_a_process_that_has_left_something_is_known_after_it_ended(redis):
    """It has not died: only who asks for it sees it."""
    facts = {"spool": {"entries": 7}}
    announcer = Announcer(redis, KEYS, kind="web", facts=lambda: facts, has_left=lambda: True)
    announcing = asyncio.create_task(announcer.run())
    await until(lambda: list_processes(redis, KEYS))
    await end(announcing)
    assert await list_processes(redis, KEYS) == []
    (process,) = await list_processes(redis, KEYS, with_ended=True)
    assert (process.is_alive, process.has_ended, process.facts) == (False, True, facts)


async def test_a_name_is_forgotten_after_its_life(redis, monkeypatch):
    """Otherwise the list would grow with every crash."""
    await redis.zadd(KEYS.processes(), {"worker/old": 1})
    await announcements.announce(redis, KEYS, "web/new", b"{}")
    assert [one.name for one in await announcements.list_announcements(redis, KEYS)] == ["web/new"]
    assert 0 < await redis.pttl(KEYS.processes()) <= announcements.NAME_LIFE


async def test_an_outage_of_redis_ends_no_announcer(redis, lines):
    """It goes on, and announces again once Redis answers; nothing is logged, as others log the outage."""
    away = connect("redis://127.0.0.1:1/0")
    announcer = Announcer(away, KEYS, kind="worker")
    announcing = asyncio.create_task(announcer.run())
    asked = 0

    async def is_asked_again():
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return asked > 20

    await until(is_asked_again)
    assert not announcing.done()
    announcer._redis = redis
    await until(lambda: list_processes(redis, KEYS))
    await end(announcing)
    await away.aclose()
    assert lines() == []


@pytest.mark.parametrize(
    "record", [b"", b"\xff", b"[]", b"{", b'{"kind": 1, "pid": "x", "facts": [], "started_at": -1}']
)
async def test_a_record_of_nonsense_is_a_process_without_facts(redis, record):
    """Anybody with access to Redis may overwrite it."""
    await announcements.announce(redis, KEYS, "ai-agent/host-1-a", b"{}")
    await redis.set(KEYS.process("ai-agent/host-1-a"), record, ex=60)
    await redis.zadd(KEYS.processes(), {b"\xff": 5})
    processes = await list_processes(redis, KEYS)
    assert {process.kind for process in processes} == {"ai-agent", "\\xff"}
    assert all(process.to_json()["facts"] == {} for process in processes)


async def test_of_very_many_names_the_longest_silent_ones_go(redis, monkeypatch):
    """A process that dies again and again has another name each time: their records are bounded."""
    monkeypatch.setattr(announcements, "MOST", 3)
    for number in range(6):
        await announcements.announce(redis, KEYS, f"worker/host-{number}-a", b"{}")
        await redis.zincrby(KEYS.processes(), number - 10_000, f"worker/host-{number}-a")
    assert {one.name for one in await list_processes(redis, KEYS)} == {
        f"worker/host-{number}-a" for number in (3, 4, 5)
    }
    assert len([key async for key in redis.scan_iter()]) == 4
