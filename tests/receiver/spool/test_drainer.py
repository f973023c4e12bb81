"""Draining: once, oldest first, with claims of the right age, and without waiting for events that Redis refuses."""

from __future__ import annotations

import asyncio
import os
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ReadOnlyError, ResponseError

from router.core.errors import NotDurableError
from router.core.keys import Keys
from router.receiver.spool import drainer
from router.receiver.spool.drainer import LONGEST_PAUSE, SHORTEST_CLAIM, Drainer, pause_after, with_remaining_ttl
from router.receiver.spool.spool import Spool
from tests.receiver.spool.failing_disks import no_room
from tests.receiver.spool.test_journal import event
from tests.receiver.spool.test_spool import leave
from tests.support.waiting import until

KEYS = Keys(partitions=4)
NOW = 1_767_787_200_000_000


class FakeAppender:
    """Appends events unless there is a `problem` with Redis, an event is `refused` or its partition `unavailable`."""

    def __init__(self):
        self.appended, self.problem, self.refused, self.unavailable = [], None, set(), set()

    async def append(self, fields):
        await asyncio.sleep(0)
        if self.problem or fields.key in self.refused or KEYS.partition_of(fields.subject) in self.unavailable:
            error = NotDurableError("no")
            error.__cause__ = ResponseError("ERR of its own") if fields.key in self.refused else self.problem
            raise error
        is_new = fields.key not in [one.key for one in self.appended]
        if is_new:
            self.appended.append(fields)
        return is_new

    async def ping(self):
        pass


@pytest.fixture
def appender():
    return FakeAppender()


@pytest.fixture
async def spool(tmp_path):
    spool = Spool(tmp_path / "spool", "router", 10_000_000)
    await spool.maintain()
    spool.activate("test")
    return spool


@pytest.fixture
async def draining(spool, appender):
    draining = Drainer(spool, appender, appender.ping, clock=lambda: NOW)
    yield draining
    await draining.close()


async def fill(spool, *numbers):
    await asyncio.gather(*[spool.put(event(number)) for number in numbers])


def keys_of(appender):
    return [fields.key for fields in appender.appended]


async def test_all_events_are_drained_in_order(spool, appender, draining):
    """Many batches are appended in the order of their arrival; then the spool is empty and inactive."""
    await fill(spool, *range(2000))
    await draining.drain()
    assert keys_of(appender) == [event(number).key for number in range(2000)]
    assert (spool.entries, spool.is_active) == (0, False)


async def test_a_full_disk_is_drained_without_space(spool, appender, draining, tmp_path):
    """Deleting needs space; the events are appended once, in order, the file goes, and the spool is inactive."""
    await fill(spool, *range(1200))
    with no_room():
        with pytest.raises(NotDurableError):
            await spool.put(event(5000))
        await draining.drain()
        assert keys_of(appender) == [event(number).key for number in range(1200)]
        assert (spool.entries, spool.is_active) == (0, False)
        assert [path.name for path in (tmp_path / "spool").iterdir()] == ["router.lock"]
    await spool.maintain()
    assert await spool.put(event(5000)) is True


async def test_what_could_not_be_deleted_is_not_drained_again(spool, appender, draining, tmp_path):
    """Events that Redis has are neither read nor counted again, and are deleted once the disk has room."""
    await fill(spool, *range(1200))
    refused = {event(700).key}
    with no_room():
        appender.refused = refused
        for _ in range(2):
            with pytest.raises(NotDurableError):
                await draining.drain()
        appended = [event(number).key for number in range(1200) if number != 700]
        assert (keys_of(appender), spool.entries) == (appended, 1)
    await spool.maintain()
    assert spool.is_usable
    appender.refused = set()
    await draining.drain()
    assert (keys_of(appender), spool.is_active) == ([*appended, *refused], False)
    await draining.close()
    assert not list((tmp_path / "spool").glob("*.sqlite*"))


async def test_a_file_that_cannot_be_read_holds_up_no_event(spool, appender, draining, tmp_path, output):
    """Its log was cut off: what is in it waits for the disk; what comes later is drained."""
    await asyncio.gather(*[spool.put(event(number, body=bytes(50_000))) for number in range(70)])
    (log,) = (tmp_path / "spool").glob("*.sqlite-wal")
    os.truncate(log, 1_000_000)
    await draining_fails(draining)
    drained = len(keys_of(appender))
    assert 0 < drained < 70
    assert (spool.is_active, spool.entries) == (False, 70 - drained)
    assert output.getvalue().count('"spool.failed"') == 1
    spool.activate("Redis is down")
    await spool.put(event(200))
    await draining_fails(draining)
    assert keys_of(appender)[-1] == event(200).key
    assert (spool.is_active, spool.entries) == (False, 70 - drained)


async def draining_fails(draining):
    with pytest.raises(sqlite3.Error):
        await draining.drain()


async def test_an_event_that_had_reached_redis_is_a_duplicate(spool, appender, draining):
    """Its answer was lost: its claim makes it a duplicate, and it leaves the spool like the others."""
    await appender.append(event(1))
    await fill(spool, 1, 2)
    await draining.drain()
    assert keys_of(appender) == [event(1).key, event(2).key]
    assert spool.entries == 0


async def test_events_stay_while_redis_cannot_take_them(spool, appender, draining):
    """An outage leaves all unconfirmed events in the spool, and new events follow them."""
    await fill(spool, 1, 2)
    appender.problem = ReadOnlyError("replica")
    with pytest.raises(NotDurableError):
        await draining.drain()
    assert (spool.entries, spool.is_active) == (2, True)
    assert await spool.can_bypass() is False
    appender.problem = None
    await draining.drain()
    assert keys_of(appender) == [event(1).key, event(2).key]


async def test_an_event_that_redis_refuses_delays_no_other(spool, appender, draining, output):
    """It stays in the spool and is logged; all others are drained. Once it is accepted the spool is inactive."""
    await fill(spool, 1, 2, 3)
    appender.refused = {event(2).key}
    with pytest.raises(NotDurableError):
        await draining.drain()
    assert keys_of(appender) == [event(1).key, event(3).key]
    assert (spool.entries, spool.is_active) == (1, True)
    assert "Redis refuses" in output.getvalue()
    appender.refused = set()
    await draining.drain()
    assert not spool.is_active


async def test_an_unavailable_partition_delays_no_other(spool, appender, tmp_path):
    """All its events stay; those of other partitions are drained past them, in order, and so are new ones."""
    draining = Drainer(spool, appender, appender.ping, keys=KEYS, clock=lambda: NOW)
    events = [event(number, subject=f"s{number % 7}") for number in range(3000)]
    await asyncio.gather(*[spool.put(one) for one in events])
    appender.unavailable = {KEYS.partition_of("s0")}
    kept = [one.key for one in events if KEYS.partition_of(one.subject) in appender.unavailable]
    others = [one.key for one in events if one.key not in kept]
    assert len(kept) > 512
    for _ in range(2):
        with pytest.raises(NotDurableError):
            await draining.drain()
        assert keys_of(appender) == others
        assert (spool.entries, spool.is_active) == (len(kept), True)
    late = next(
        event(n, subject=f"s{n}") for n in range(4000, 4100) if KEYS.partition_of(f"s{n}") not in appender.unavailable
    )
    await spool.put(late)
    with pytest.raises(NotDurableError):
        await draining.drain()
    assert keys_of(appender)[-1] == late.key
    appender.unavailable = set()
    await draining.drain()
    assert (keys_of(appender), spool.is_active) == ([*others, late.key, *kept], False)
    await draining.close()


async def test_the_last_events_are_drained_past_an_unavailable_partition_too(spool, appender):
    """New events are paused for the last few; if some remain, the new ones go into the spool."""
    draining = Drainer(spool, appender, appender.ping, keys=KEYS, clock=lambda: NOW)
    events = [event(number, subject=f"s{number}") for number in range(20)]
    appender.unavailable = {0}
    await asyncio.gather(*[spool.put(one) for one in events])
    with pytest.raises(NotDurableError):
        await draining.drain()
    assert keys_of(appender) == [one.key for one in events if KEYS.partition_of(one.subject) != 0]
    assert await spool.can_bypass() is False
    appender.unavailable = set()
    await draining.drain()
    assert not spool.is_active
    await draining.close()


async def test_draining_starts_by_itself_and_retries(spool, appender, draining, monkeypatch):
    """A drain that fails in the background is repeated until it succeeds."""
    monkeypatch.setattr(drainer, "LONGEST_PAUSE", 0.02)
    appender.problem = ReadOnlyError("replica")
    await draining.start()
    await fill(spool, 1)
    await until(lambda: spool.entries == 1)
    appender.problem = None
    await until(lambda: not spool.is_active)
    assert keys_of(appender) == [event(1).key]


async def test_the_files_of_a_process_that_dies_are_drained_by_another(
    spool, appender, draining, monkeypatch, tmp_path
):
    """A receiver searches for files of dead processes from time to time, and drains them."""
    monkeypatch.setattr(drainer, "MAINTENANCE_INTERVAL", 0.02)
    await draining.start()
    await until(lambda: not spool.is_active)
    leave(tmp_path / "spool", "router@1-7.sqlite", 1, 2)
    await until(lambda: len(appender.appended) == 2)
    await until(lambda: not list((tmp_path / "spool").glob("router@1-7*")))


async def test_closing_drains_once_more(spool, appender, draining, tmp_path):
    """Events that Redis accepts at the last moment do not wait for the next start."""
    await fill(spool, 1)
    await draining.close()
    assert keys_of(appender) == [event(1).key]
    assert not list((tmp_path / "spool").glob("*.sqlite"))


async def test_the_file_of_a_dead_process_on_a_full_disk_is_drained(tmp_path, appender):
    """Opening it writes nothing; its events come before new ones, and the file goes with the last of them."""
    spool = Spool(tmp_path / "spool", "router", 10_000_000)
    leave(tmp_path / "spool", "router@1-7.sqlite", 1, 2)
    (tmp_path / "spool" / "router.lock").touch()
    with no_room():
        await spool.maintain()
        assert (spool.is_usable, spool.is_active, spool.entries) == (False, True, 2)
        draining = Drainer(spool, appender, appender.ping, clock=lambda: NOW)
        await draining.drain()
    assert keys_of(appender) == [event(1).key, event(2).key]
    assert (spool.entries, spool.is_active) == (0, False)
    assert not list((tmp_path / "spool").glob("*.sqlite*"))
    await draining.close()


async def test_a_canceled_drain_resumes_new_events(spool, appender, draining, monkeypatch):
    """An event that was paused while the last ones were drained continues."""
    await fill(spool, 1)
    reached = asyncio.Event()

    async def hang(_):
        reached.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(appender, "append", hang)
        drain = asyncio.create_task(draining.drain())
        await reached.wait()
        new_event = asyncio.create_task(spool.can_bypass())
        await asyncio.sleep(0)
        assert not new_event.done()
        drain.cancel()
        assert await new_event is False
        await asyncio.wait([drain])


@given(ttl=st.integers(1, 10**6), age=st.integers(-(10**6), 10**7))
def test_claims_live_as_long_after_the_receipt_as_without_the_spool(ttl, age):
    """The time in the spool is subtracted, down to a minimum that outlasts the drainer's own retries."""
    fields = event(ttl=ttl, received_at=NOW - age * 1_000_000)
    left = with_remaining_ttl(fields, NOW).ttl
    assert min(ttl, SHORTEST_CLAIM) <= left <= ttl
    if SHORTEST_CLAIM <= ttl - age <= ttl:
        assert left == ttl - age


@given(failures=st.integers(1, 10_000))
def test_pauses_grow_up_to_a_bound(failures):
    """However long Redis is down, it is tried again every few seconds."""
    assert 0 < pause_after(failures) <= LONGEST_PAUSE
