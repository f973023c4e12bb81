"""The order of sweeps and their budget: noted by commits, claimed by one worker, bounded, shared by all."""

from __future__ import annotations

import asyncio

import pytest

from router.core.keys import Keys
from router.core.ledger.ledger import Ledger
from router.streams.client.connection import RedisError
from router.streams.store.ledgers import Store
from router.streams.store.recent import LEASE, NOTED, QUIET, REST, Pace, Recent
from tests.support.accounts import ACCOUNT

pytestmark = pytest.mark.real

NOW = 1_767_787_200_000
WINDOW = 3600


class Time:
    """A clock in µs that a test moves by seconds."""

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


async def test_a_conversation_is_due_after_its_first_event(recent, note, time):
    """QUIET seconds after it, and no earlier."""
    await note("c1")
    time.advance(QUIET - 1)
    assert await recent.take(0) is None
    time.advance(1)
    claim = await recent.take(0)
    assert (claim.account_id, claim.conversation_id) == (ACCOUNT, "c1")
    assert (claim.active_at, claim.due_at) == (NOW, NOW + QUIET * 1000)


async def test_later_events_do_not_move_the_sweep(recent, note, time):
    """A conversation with constant events is swept too; only the time of its last event moves."""
    for number in range(3):
        await note("c1", day=str(number))
        time.advance(NOTED)
    claim = await recent.take(0)
    assert (claim.active_at, claim.due_at) == (NOW + 60_000, NOW + QUIET * 1000)


async def test_a_process_notes_a_conversation_once_within_noted_seconds(redis, keys, recent, note, time):
    """Another process does so independently."""
    await note("c1")
    time.advance(NOTED - 1)
    await note("c1", day="1")
    assert await redis.zscore(keys.active(0), f"{ACCOUNT} c1") == NOW
    other = Store(redis, keys, marker_ttl=5_000, recent=Recent(redis, keys, window=WINDOW, clock=time))
    ledger = await other.read_whole(ACCOUNT, "c1")
    ledger.put("day", "2")
    await other.commit([ledger])
    assert await redis.zscore(keys.active(0), f"{ACCOUNT} c1") == NOW + (NOTED - 1) * 1000


async def test_a_doubtful_event_brings_the_sweep_forward(redis, keys, recent, note, time):
    """The conversation is swept as soon as a new one, and never later than it was due."""
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


async def test_the_memory_of_noted_conversations_is_bounded(redis, keys, time):
    """A process remembers no more names than the sets may have."""
    recent = Recent(redis, keys, window=WINDOW, most=3, clock=time)
    assert all(recent.note(ACCOUNT, f"c{number}") for number in range(10))
    assert len(recent._noted) <= 3
    assert recent.note(ACCOUNT, "c9") == []


@pytest.mark.parametrize("failure", ["lost race", "error"])
async def test_a_commit_that_fails_is_noted_when_it_is_repeated(redis, keys, recent, failure):
    """However a commit fails, the one that succeeds notes its conversation."""
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


async def test_a_commit_that_loses_the_race_notes_nothing(redis, keys, recent):
    """An event that is not committed does not count."""
    store = Store(redis, keys, marker_ttl=5_000, recent=recent)
    late = Ledger("router", ACCOUNT, "c1", {"rev": "7"})
    late.put("status", "ACTIVE")
    assert await store.commit([late]) == [False]
    assert not await redis.exists(keys.active(0), keys.sweeps(0))


async def test_a_store_without_recent_notes_nothing(redis, keys):
    """A process that does not reconcile writes nothing for it."""
    ledger = Ledger("router", ACCOUNT, "c1", {})
    ledger.put("status", "ACTIVE")
    assert await Store(redis, keys, marker_ttl=5_000).commit([ledger]) == [True]
    assert not await redis.exists(keys.active(0), keys.sweeps(0))


async def test_the_longest_due_conversation_is_claimed_first(recent, note, time):
    """Whatever the order of names."""
    for name in ("c3", "c1", "c2"):
        await note(name)
        time.advance(1)
    time.advance(QUIET)
    assert [await take_name(recent) for _ in range(4)] == ["c3", "c1", "c2", None]


async def test_concurrent_workers_claim_each_conversation_once(redis_url, clients, keys, note, time):
    """Five workers claim until nothing is due: each of twenty conversations is claimed by one of them."""
    for number in range(20):
        await note(f"c{number}")
    time.advance(QUIET)

    async def claim_all():
        recent, names = Recent(clients(redis_url), keys, window=WINDOW, clock=time), []
        while name := await take_name(recent):
            names.append(name)
        return names

    taken = await asyncio.gather(*[claim_all() for _ in range(5)])
    assert sorted(name for names in taken for name in names) == sorted(f"c{number}" for number in range(20))


async def test_the_claim_of_a_dead_worker_ends(recent, note, time):
    """After LEASE another worker gets the sweep, and the first one can no longer end it."""
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


async def test_a_sweep_that_is_put_back_is_due_again_after_the_delay(recent, note, time):
    """And no earlier."""
    await note("c1")
    time.advance(QUIET)
    await recent.put_back(await recent.take(0), REST)
    time.advance(REST - 1)
    assert await recent.take(0) is None
    time.advance(1)
    assert await take_name(recent) == "c1"


@pytest.mark.parametrize(("is_final", "again"), [(False, "c1"), (True, None)], ids=["over", "closed"])
async def test_an_event_since_the_claim_keeps_a_conversation_that_has_not_closed(recent, note, time, is_final, again):
    """Its sweeps were to end because it was outside the window; a closed conversation is dropped for good."""
    await note("c1")
    time.advance(WINDOW + QUIET + 1)
    claim = await recent.take(0)
    assert recent.is_over(claim)
    await note("c1", status="CLOSED")
    await recent.forget(claim, is_final=is_final)
    time.advance(QUIET)
    assert await take_name(recent) == again


async def test_a_dropped_conversation_starts_anew(recent, note, time):
    """Its next event counts as its first."""
    await note("c1")
    time.advance(QUIET)
    await recent.forget(await recent.take(0))
    time.advance(REST + LEASE)
    assert await recent.take(0) is None
    await note("c1", day="2")
    time.advance(QUIET)
    assert await take_name(recent) == "c1"


async def test_a_sweep_overdue_by_more_than_rest_is_late(recent, note, time):
    """Then the budget is too small."""
    await note("c1")
    time.advance(QUIET + REST)
    claim = await recent.take(0)
    assert not recent.is_late(claim)
    time.advance(1)
    assert recent.is_late(claim)


async def test_the_sets_are_bounded_in_number(redis, keys, note, time):
    """Of too many conversations the longest inactive ones are dropped, from both sets."""
    recent = Recent(redis, keys, window=WINDOW, most=3, clock=time)
    for number in range(10):
        await note(f"c{number}")
        time.advance(1)
    time.advance(QUIET)
    assert await take_name(recent) == "c7"
    assert await redis.zcard(keys.active(0)) == await redis.zcard(keys.sweeps(0)) == 3


async def test_the_sets_expire(redis, keys, recent, note):
    """Both have a TTL, which every write renews."""
    await note("c1")
    for key in (keys.active(0), keys.sweeps(0)):
        assert WINDOW < await redis.ttl(key) <= 2 * WINDOW + REST + LEASE


async def test_a_conversation_is_noted_in_its_own_partition(redis, time):
    """It is the slot of its commit."""
    keys = Keys("router", 7)
    recent = Recent(redis, keys, window=WINDOW, clock=time)
    ledger = Ledger("router", ACCOUNT, "conv_1", {})
    ledger.put("status", "ACTIVE")
    await Store(redis, keys, marker_ttl=5_000, recent=recent).commit([ledger])
    time.advance(QUIET)
    found = [await take_name(recent, partition) for partition in range(7)]
    assert found[keys.partition_of("conv_1")] == "conv_1"
    assert found.count(None) == 6


async def test_a_key_of_another_type_is_an_error(redis, keys, recent):
    """It is raised, not hidden."""
    await redis.set(keys.active(0), "x", ex=60)
    with pytest.raises(RedisError, match="WRONGTYPE"):
        await recent.take(0)


@pytest.mark.parametrize("calls", [1, 7, 60])
async def test_all_workers_share_one_pace(redis, keys, time, calls):
    """Four workers that ask as often as they like make `calls` calls in every minute, and hardly fewer."""
    workers = [Pace(redis, keys, calls=calls, clock=time) for _ in range(4)]
    made, begun, step = [], time.millis, 60 / calls / 3
    while time.millis < begun + 120_000:
        made += [time.millis for pace in workers if await pace.take() == 0]
        time.advance(step)
    assert all(sum(at <= one < at + 60_000 for one in made) <= calls for at in made)
    assert len(made) >= 2 * calls * 0.7


async def test_pace_returns_the_time_to_wait(redis, keys, time):
    """After that wait the next call may be made; unused calls are not saved up."""
    pace = Pace(redis, keys, calls=30, clock=time)
    assert await pace.take() == 0
    assert await pace.take() == 2
    time.advance(3600)
    assert await pace.take() == 0
    wait = await pace.take()
    time.advance(wait)
    assert await pace.take() == 0


async def test_a_clock_that_is_ahead_slows_the_pace_for_a_limited_time(redis, keys, time):
    """The other workers wait, no more calls are made, and the wait is bounded."""
    ahead = Time()
    ahead.advance(86_400)
    pace, hasty = Pace(redis, keys, calls=60, clock=time), Pace(redis, keys, calls=60, clock=ahead)
    assert [await hasty.take(), await hasty.take()] == [0, 1]
    assert 0 < await pace.take() <= 2
    assert 0 < await redis.pttl(keys.pace()) <= 61_000
