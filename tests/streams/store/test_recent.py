"""The order of sweeps and their budget: noted by commits, claimed by one, bounded, and shared by all workers."""

from __future__ import annotations

import asyncio

import pytest

from router.core.keys import Keys
from router.core.ledger.ledger import Ledger
from router.streams.client.connection import RedisError
from router.streams.store.ledgers import Store
from router.streams.store.recent import LEASE, NOTED, QUIET, REST, Pace, Recent
from tests.core.builders import ACCOUNT

pytestmark = pytest.mark.real

NOW = 1_767_787_200_000
WINDOW = 3600


class Time:
    """A clock in µs that tests move by seconds."""

    def __init__(self):
        self.millis = NOW

    def __call__(self):
        return self.millis * 1000

    def advance(self, seconds):
        self.millis += int(seconds * 1000)


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def recent(redis, keys, time):
    return Recent(redis, keys, window=WINDOW, clock=time)


@pytest.fixture
def note(redis, keys, recent):
    """Return a function that commits an event of a conversation."""
    store = Store(redis, keys, marker_ttl=5_000, recent=recent)

    async def commit(name, **changes):
        ledger = await store.read_whole(ACCOUNT, name)
        for field, value in (changes or {"status": "ACTIVE"}).items():
            ledger.put(field, value)
        assert not ledger.changes or await store.commit([ledger]) == [True]

    return commit


async def take_name(recent, partition=0):
    claim = await recent.take(partition)
    return claim and claim.conversation_id


async def test_event_is_due_after_a_moment(recent, note, time):
    """A conversation is due QUIET after its first event, and no earlier."""
    await note("c1")
    time.advance(QUIET - 1)
    assert await recent.take(0) is None
    time.advance(1)
    claim = await recent.take(0)
    assert (claim.account_id, claim.conversation_id) == (ACCOUNT, "c1")
    assert (claim.active_at, claim.due_at) == (NOW, NOW + QUIET * 1000)


async def test_later_events_neither_hasten_nor_delay_it(recent, note, time):
    """Whoever talks all the time is swept all the same; only the last event moves."""
    for number in range(3):
        await note("c1", day=str(number))
        time.advance(NOTED)
    claim = await recent.take(0)
    assert (claim.active_at, claim.due_at) == (NOW + 60_000, NOW + QUIET * 1000)


async def test_who_talks_a_lot_is_noted_now_and_then(redis, keys, recent, note, time):
    """Within NOTED seconds one process notes a conversation once; another process does so by itself."""
    await note("c1")
    time.advance(NOTED - 1)
    await note("c1", day="1")
    assert await redis.zscore(keys.active(0), f"{ACCOUNT} c1") == NOW
    other = Store(redis, keys, marker_ttl=5_000, recent=Recent(redis, keys, window=WINDOW, clock=time))
    ledger = await other.read_whole(ACCOUNT, "c1")
    ledger.put("day", "2")
    await other.commit([ledger])
    assert await redis.zscore(keys.active(0), f"{ACCOUNT} c1") == NOW + (NOTED - 1) * 1000


async def test_doubt_hastens_the_sweep(redis, keys, recent, note, time):
    """Where somebody is in doubt the conversation is swept as soon as a new one, and never later than it was to be."""
    await note("c1")
    time.advance(QUIET)
    await recent.put_back(await recent.take(0), REST)
    store = Store(redis, keys, marker_ttl=5_000, recent=recent)
    for number in range(2):
        ledger = await store.read_whole(ACCOUNT, "c1")
        ledger.put("day", str(number))
        ledger.is_doubtful = True
        await store.commit([ledger])
        time.advance(QUIET / 2)
    assert await take_name(recent) == "c1"


async def test_what_this_process_remembers_is_bounded(redis, keys, time):
    """Its memory of what it has noted has no more names than the sets may have."""
    recent = Recent(redis, keys, window=WINDOW, most=3, clock=time)
    assert all(recent.note(ACCOUNT, f"c{number}") for number in range(10))
    assert len(recent._noted) <= 3
    assert recent.note(ACCOUNT, "c9") == []


@pytest.mark.parametrize("failure", ["lost race", "error"])
async def test_commit_that_fails_is_noted_when_it_is_repeated(redis, keys, recent, failure):
    """Whatever becomes of a commit, the one that succeeds notes its conversation."""
    store = Store(redis, keys, marker_ttl=5_000, recent=recent)
    ledger = Ledger("router", ACCOUNT, "c1", {"rev": "7"} if failure == "lost race" else {})
    ledger.put("status", "ACTIVE")
    if failure == "error":
        await redis.set(keys.conversation(ACCOUNT, "c1"), "x", ex=60)
        with pytest.raises(RedisError):
            await store.commit([ledger])
        await redis.delete(keys.conversation(ACCOUNT, "c1"))
    else:
        assert await store.commit([ledger]) == [False]
    again = Ledger("router", ACCOUNT, "c1", {})
    again.put("status", "ACTIVE")
    assert await store.commit([again]) == [True]
    assert await redis.zcard(keys.active(0)) == 1


async def test_commit_that_loses_notes_nothing(redis, keys, recent):
    """An event that is not committed has not happened yet."""
    store = Store(redis, keys, marker_ttl=5_000, recent=recent)
    late = Ledger("router", ACCOUNT, "c1", {"rev": "7"})
    late.put("status", "ACTIVE")
    assert await store.commit([late]) == [False]
    assert not await redis.exists(keys.active(0), keys.sweeps(0))


async def test_store_without_it_notes_nothing(redis, keys):
    """Whoever does not reconcile writes nothing for it."""
    ledger = Ledger("router", ACCOUNT, "c1", {})
    ledger.put("status", "ACTIVE")
    assert await Store(redis, keys, marker_ttl=5_000).commit([ledger]) == [True]
    assert not await redis.exists(keys.active(0), keys.sweeps(0))


async def test_longest_due_first(recent, note, time):
    """Who has waited longest is next, whatever the order of names."""
    for name in ("c3", "c1", "c2"):
        await note(name)
        time.advance(1)
    time.advance(QUIET)
    assert [await take_name(recent) for _ in range(4)] == ["c3", "c1", "c2", None]


async def test_claims_of_several_workers(redis, keys, recent, note, time):
    """Many at once: each conversation is claimed by one of them."""
    others = [Recent(redis, keys, window=WINDOW, clock=time) for _ in range(5)]
    for number in range(20):
        await note(f"c{number}")
    time.advance(QUIET)
    taken = await asyncio.gather(*(take_name(each) for each in others for _ in range(6)))
    assert sorted(filter(None, taken)) == sorted(f"c{number}" for number in range(20))


async def test_claim_of_a_dead_worker_ends(recent, note, time):
    """A sweep that is never ended is another's after LEASE, and what the first says then changes nothing."""
    await note("c1")
    time.advance(QUIET)
    first = await recent.take(0)
    time.advance(LEASE - 1)
    assert await recent.take(0) is None
    time.advance(1)
    assert await take_name(recent) == "c1"
    await recent.forget(first, is_final=True)
    await recent.put_back(first, 0)
    assert await recent.take(0) is None
    time.advance(LEASE)
    assert await take_name(recent) == "c1"


async def test_put_back(recent, note, time):
    """It is due again when it was said to be."""
    await note("c1")
    time.advance(QUIET)
    await recent.put_back(await recent.take(0), REST)
    time.advance(REST - 1)
    assert await recent.take(0) is None
    time.advance(1)
    assert await take_name(recent) == "c1"


@pytest.mark.parametrize(("is_final", "again"), [(False, "c1"), (True, None)], ids=["over", "closed"])
async def test_event_while_it_is_forgotten(recent, note, time, is_final, again):
    """What is out of the window stays for an event that came meanwhile; what has closed does not."""
    await note("c1")
    time.advance(WINDOW + QUIET + 1)
    claim = await recent.take(0)
    assert recent.is_over(claim)
    await note("c1", status="CLOSED")
    await recent.forget(claim, is_final=is_final)
    time.advance(QUIET)
    assert await take_name(recent) == again


async def test_forgotten_conversation_begins_anew(recent, note, time):
    """An event after it was forgotten is like the first."""
    await note("c1")
    time.advance(QUIET)
    await recent.forget(await recent.take(0))
    time.advance(REST + LEASE)
    assert await recent.take(0) is None
    await note("c1", day="2")
    time.advance(QUIET)
    assert await take_name(recent) == "c1"


async def test_late(recent, note, time):
    """Waiting longer than two sweeps are apart is late: the budget does not suffice."""
    await note("c1")
    time.advance(QUIET + REST)
    claim = await recent.take(0)
    assert not recent.is_late(claim)
    time.advance(1)
    assert recent.is_late(claim)


async def test_bounded(redis, keys, note, time):
    """Of too many the longest quiet ones are forgotten, in both sets."""
    recent = Recent(redis, keys, window=WINDOW, most=3, clock=time)
    for number in range(10):
        await note(f"c{number}")
        time.advance(1)
    time.advance(QUIET)
    assert await take_name(recent) == "c7"
    assert await redis.zcard(keys.active(0)) == await redis.zcard(keys.sweeps(0)) == 3


async def test_bounded_by_time(redis, keys, recent, note):
    """Both sets expire when nobody writes any more."""
    await note("c1")
    for key in (keys.active(0), keys.sweeps(0)):
        assert WINDOW < await redis.ttl(key) <= 2 * WINDOW + REST + LEASE


async def test_partitions(redis, time):
    """A conversation is noted in its own partition, in the slot of its commit."""
    keys = Keys("router", 7)
    recent = Recent(redis, keys, window=WINDOW, clock=time)
    ledger = Ledger("router", ACCOUNT, "conv_1", {})
    ledger.put("status", "ACTIVE")
    await Store(redis, keys, marker_ttl=5_000, recent=recent).commit([ledger])
    time.advance(QUIET)
    found = [await take_name(recent, partition) for partition in range(7)]
    assert found[keys.partition_of("conv_1")] == "conv_1"
    assert found.count(None) == 6


async def test_wrong_type_is_an_error(redis, keys, recent):
    """What is no sorted set at the key is said, not hidden."""
    await redis.set(keys.active(0), "x", ex=60)
    with pytest.raises(RedisError, match="WRONGTYPE"):
        await recent.take(0)


@pytest.mark.parametrize("calls", [1, 7, 60])
async def test_pace_is_that_of_all(redis, keys, time, calls):
    """Four workers that ask as often as they like make so many calls in every minute, and no fewer."""
    workers = [Pace(redis, keys, calls=calls, clock=time) for _ in range(4)]
    made, begun, step = [], time.millis, 60 / calls / 3
    while time.millis < begun + 120_000:
        made += [time.millis for pace in workers if await pace.take() == 0]
        time.advance(step)
    assert all(sum(at <= one < at + 60_000 for one in made) <= calls for at in made)
    assert len(made) >= 2 * calls * 0.7


async def test_pace_says_how_long_to_wait(redis, keys, time):
    """Whoever waits as long as is said gets the next call; nothing is saved up meanwhile."""
    pace = Pace(redis, keys, calls=30, clock=time)
    assert await pace.take() == 0
    assert await pace.take() == 2
    time.advance(3600)
    assert await pace.take() == 0
    wait = await pace.take()
    time.advance(wait)
    assert await pace.take() == 0


async def test_pace_with_a_clock_that_is_ahead(redis, keys, time):
    """A worker whose clock is ahead makes the others wait, but no more calls are made, and nobody waits for ever."""
    ahead = Time()
    ahead.advance(86_400)
    pace, hasty = Pace(redis, keys, calls=60, clock=time), Pace(redis, keys, calls=60, clock=ahead)
    assert [await hasty.take(), await hasty.take()] == [0, 1]
    assert 0 < await pace.take() <= 2
    assert 0 < await redis.pttl(keys.pace()) <= 61_000
