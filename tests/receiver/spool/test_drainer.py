"""Feeding back: once, oldest first, claims of the right age, and one that Redis refuses holds nobody up."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ReadOnlyError, ResponseError

from router.core.errors import NotDurableError
from router.core.keys import Keys
from router.receiver.spool import drainer
from router.receiver.spool.drainer import LONGEST_PAUSE, SHORTEST_CLAIM, Drainer, aged, pause_after
from router.receiver.spool.journals import Journals
from router.receiver.spool.spool import Spool
from tests.receiver.spool.test_journal import event
from tests.receiver.spool.test_spool import leave
from tests.support.waiting import until

KEYS = Keys(partitions=4)
NOW = 1_767_787_200_000_000


class FakeAppender:
    """Takes events in, as long as nothing is wrong with Redis (`problem`) or with them (`refused`)."""

    def __init__(self):
        self.taken, self.problem, self.refused, self.away = [], None, set(), set()

    async def append(self, fields):
        await asyncio.sleep(0)
        if self.problem or fields.key in self.refused or KEYS.partition_of(fields.subject) in self.away:
            error = NotDurableError("no")
            error.__cause__ = ResponseError("ERR of its own") if fields.key in self.refused else self.problem
            raise error
        is_new = fields.key not in [one.key for one in self.taken]
        if is_new:
            self.taken.append(fields)
        return is_new

    async def ping(self):
        pass


@pytest.fixture
def appender():
    return FakeAppender()


@pytest.fixture
async def spool(tmp_path):
    spool = Spool(tmp_path / "spool", "router", 10_000_000)
    await spool.tend()
    spool.begin("test")
    return spool


@pytest.fixture
async def feeder(spool, appender):
    feeder = Drainer(spool, appender, appender.ping, clock=lambda: NOW)
    yield feeder
    await feeder.close()


async def fill(spool, *numbers):
    await asyncio.gather(*[spool.put(event(number)) for number in numbers])


def keys_of(appender):
    return [fields.key for fields in appender.taken]


async def test_everything_goes_in_order_and_leaves_the_spool(spool, appender, feeder):
    """Many batches, in the order they came; then it is off."""
    await fill(spool, *range(2000))
    await feeder.drain()
    assert keys_of(appender) == [event(number).key for number in range(2000)]
    assert (spool.entries, spool.is_on) == (0, False)


async def test_event_that_had_reached_redis_is_a_duplicate(spool, appender, feeder):
    """Its answer was lost: it is known by its claim, and leaves the spool like the others."""
    await appender.append(event(1))
    await fill(spool, 1, 2)
    await feeder.drain()
    assert keys_of(appender) == [event(1).key, event(2).key]
    assert spool.entries == 0


async def test_while_redis_does_not_take_them_they_stay(spool, appender, feeder):
    """An outage in the middle leaves everything that was not confirmed, and newcomers go behind it."""
    await fill(spool, 1, 2)
    appender.problem = ReadOnlyError("replica")
    with pytest.raises(NotDurableError):
        await feeder.drain()
    assert (spool.entries, spool.is_on) == (2, True)
    assert await spool.is_over() is False
    appender.problem = None
    await feeder.drain()
    assert keys_of(appender) == [event(1).key, event(2).key]


async def test_event_that_redis_refuses_holds_nobody_up(spool, appender, feeder, output):
    """It stays in the spool, told of; all others are fed; once it is taken the spool is off."""
    await fill(spool, 1, 2, 3)
    appender.refused = {event(2).key}
    with pytest.raises(NotDurableError):
        await feeder.drain()
    assert keys_of(appender) == [event(1).key, event(3).key]
    assert (spool.entries, spool.is_on) == (1, True)
    assert "Redis refuses" in output.getvalue()
    appender.refused = set()
    await feeder.drain()
    assert not spool.is_on


async def test_partition_that_is_away_holds_up_no_other(spool, appender, tmp_path):
    """Its events stay, however many; those of the others go past them, in order, and newcomers too."""
    feeder = Drainer(spool, appender, appender.ping, keys=KEYS, clock=lambda: NOW)
    events = [event(number, subject=f"s{number % 7}") for number in range(3000)]
    await asyncio.gather(*[spool.put(one) for one in events])
    appender.away = {KEYS.partition_of("s0")}
    kept = [one.key for one in events if KEYS.partition_of(one.subject) in appender.away]
    others = [one.key for one in events if one.key not in kept]
    assert len(kept) > 512
    for _ in range(2):
        with pytest.raises(NotDurableError):
            await feeder.drain()
        assert keys_of(appender) == others
        assert (spool.entries, spool.is_on) == (len(kept), True)
    late = next(event(n, subject=f"s{n}") for n in range(4000, 4100) if KEYS.partition_of(f"s{n}") not in appender.away)
    await spool.put(late)
    with pytest.raises(NotDurableError):
        await feeder.drain()
    assert keys_of(appender)[-1] == late.key
    appender.away = set()
    await feeder.drain()
    assert (keys_of(appender), spool.is_on) == ([*others, late.key, *kept], False)
    await feeder.close()


async def test_the_last_ones_are_fed_past_a_partition_that_is_away_too(spool, appender):
    """Also of a few events, which newcomers are held back for: then they go on into the spool."""
    feeder = Drainer(spool, appender, appender.ping, keys=KEYS, clock=lambda: NOW)
    events = [event(number, subject=f"s{number}") for number in range(20)]
    appender.away = {0}
    await asyncio.gather(*[spool.put(one) for one in events])
    with pytest.raises(NotDurableError):
        await feeder.drain()
    assert keys_of(appender) == [one.key for one in events if KEYS.partition_of(one.subject) != 0]
    assert await spool.is_over() is False
    appender.away = set()
    await feeder.drain()
    assert not spool.is_on
    await feeder.close()


async def test_it_begins_by_itself_and_tries_again(spool, appender, feeder, monkeypatch):
    """In the background: what fails is tried again until it succeeds."""
    monkeypatch.setattr(drainer, "LONGEST_PAUSE", 0.02)
    appender.problem = ReadOnlyError("replica")
    await feeder.start()
    await fill(spool, 1)
    await until(lambda: spool.entries == 1)
    appender.problem = None
    await until(lambda: not spool.is_on)
    assert keys_of(appender) == [event(1).key]


async def test_neighbor_that_dies_is_succeeded_by_a_living_process(spool, appender, feeder, monkeypatch, tmp_path):
    """A receiver looks from time to time for what others have left, and feeds it."""
    monkeypatch.setattr(drainer, "TENDING", 0.02)
    await feeder.start()
    await until(lambda: not spool.is_on)
    leave(tmp_path / "spool", "router@1-7.sqlite", 1, 2)
    await until(lambda: len(appender.taken) == 2)
    await until(lambda: not list((tmp_path / "spool").glob("router@1-7*")))


async def test_end_of_the_process_tries_once_more(spool, appender, feeder, tmp_path):
    """What Redis takes at the last moment does not wait for the next start."""
    await fill(spool, 1)
    await feeder.close()
    assert keys_of(appender) == [event(1).key]
    assert not list((tmp_path / "spool").glob("*.sqlite"))


async def test_what_was_left_is_fed_although_nothing_can_be_written(tmp_path, appender, monkeypatch):
    """A spool that cannot go on still gives back what a dead process has left."""
    spool = Spool(tmp_path / "spool", "router", 10_000_000)
    leave(tmp_path / "spool", "router@1-7.sqlite", 1, 2)

    def fail(_):
        raise OSError("no room")

    monkeypatch.setattr(Journals, "probe", fail)
    await spool.tend()
    assert (spool.is_usable, spool.is_on, spool.entries) == (False, False, 2)
    feeder = Drainer(spool, appender, appender.ping, clock=lambda: NOW)
    await feeder.drain()
    assert keys_of(appender) == [event(1).key, event(2).key]
    assert spool.entries == 0
    await feeder.close()


async def test_a_drain_that_is_cut_off_lets_newcomers_go_on(spool, appender, feeder, monkeypatch):
    """Whoever was held back while the last events were fed is not forgotten."""
    await fill(spool, 1)
    reached = asyncio.Event()

    async def hang(_):
        reached.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(appender, "append", hang)
        drain = asyncio.create_task(feeder.drain())
        await reached.wait()
        newcomer = asyncio.create_task(spool.is_over())
        await asyncio.sleep(0)
        assert not newcomer.done()
        drain.cancel()
        assert await newcomer is False
        await asyncio.wait([drain])


@given(ttl=st.integers(1, 10**6), age=st.integers(-(10**6), 10**7))
def test_claims_live_as_long_after_the_receipt_as_ever(ttl, age):
    """The time in the spool counts; but a claim outlasts our own repeats, and never its usual time."""
    fields = event(ttl=ttl, received_at=NOW - age * 1_000_000)
    left = aged(fields, NOW).ttl
    assert min(ttl, SHORTEST_CLAIM) <= left <= ttl
    if SHORTEST_CLAIM <= ttl - age <= ttl:
        assert left == ttl - age


@given(failures=st.integers(1, 10_000))
def test_pauses_grow_up_to_a_bound(failures):
    """However long Redis is away, it is tried again every few seconds, and by no two alike."""
    assert 0 < pause_after(failures) <= LONGEST_PAUSE
