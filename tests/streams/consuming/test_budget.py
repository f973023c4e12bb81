"""The dead-letter budget: single failures are given up, a world that fails is kept and waits for better times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.streams.consuming.budget import MIN_ENDED, WINDOW, Budget
from router.streams.consuming.consumer import Limits, StreamConsumer
from router.streams.delivery import Done, Poison
from router.streams.store.dead_letters import list_letters
from tests.support.waiting import until

GROUP = "resolver"


class Clock:
    """Time that moves when told to."""

    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def budget(clock):
    return Budget(0.5, group=GROUP, clock=clock)


def events(lines):
    return [line["event"] for line in lines]


def test_a_few_failures_are_given_up_even_if_nothing_succeeds(budget, lines):
    """Of so few nobody can tell what is at fault."""
    assert [budget.spend() for _ in range(MIN_ENDED - 1)] == [True] * (MIN_ENDED - 1)
    assert lines == []


def test_when_nearly_everything_fails_it_is_spent_and_says_so_once(budget, lines):
    """From the entry on that would make it too many, nothing is given up, at one line at level error."""
    for _ in range(MIN_ENDED - 1):
        budget.spend()
    assert [budget.spend() for _ in range(50)] == [False] * 50
    [line] = lines
    assert (line["event"], line["level"], line["group"]) == ("budget.spent", "error", GROUP)
    assert (line["failed"], line["ended"], line["share"]) == (MIN_ENDED, MIN_ENDED, 0.5)


def test_failures_within_the_share_are_given_up_for_ever(budget, lines):
    """Bad entries among as many good ones are nobody's broken deployment."""
    for _ in range(500):
        budget.note_done(1)
        assert budget.spend()
    assert lines == []


def test_what_ended_long_ago_does_not_count(budget, clock):
    """A good hour does not pay for a bad minute, and failures far apart never add up."""
    budget.note_done(100_000)
    clock.now += WINDOW
    for _ in range(MIN_ENDED - 1):
        assert budget.spend()
    assert not budget.spend()
    for _ in range(MIN_ENDED * 5):
        clock.now += WINDOW / (MIN_ENDED - 1)
        budget.spend()
    slow = Budget(0.5, group=GROUP, clock=clock)
    for _ in range(MIN_ENDED * 5):
        clock.now += WINDOW / (MIN_ENDED / 2)
        assert slow.spend()


def test_silence_does_not_bring_it_back_and_successes_do(budget, clock, lines):
    """It recovers once the failed tries within the window are no more than the share, and tells it once."""
    for _ in range(MIN_ENDED):
        budget.spend()
    clock.now += 10 * WINDOW
    assert not budget.spend()
    assert budget._is_spent
    budget.note_done(1)
    assert not budget._is_spent
    assert budget.spend()
    assert events(lines) == ["budget.spent", "budget.recovered"]


def test_a_few_successes_among_many_failures_do_not_bring_it_back(budget):
    """What is kept goes on failing, and each of those tries counts."""
    for _ in range(100):
        budget.spend()
    budget.note_done(99)
    assert budget._is_spent
    budget.note_done(1)
    assert not budget._is_spent


@given(st.lists(st.booleans(), max_size=200))
def test_a_share_of_one_is_no_limit(ends):
    """Who wants every failure given up gets that."""
    budget = Budget(1.0, group=GROUP, clock=Clock())
    for is_done in ends:
        if is_done:
            budget.note_done(1)
        else:
            assert budget.spend()


@given(st.lists(st.booleans(), max_size=300), st.floats(0, 0.99))
def test_no_more_than_the_share_is_ever_given_up(ends, share):
    """Whatever the order, past the least number the letters of one minute stay within the share of all ends."""
    budget, letters = Budget(share, group=GROUP, clock=Clock()), 0
    for number, is_done in enumerate(ends, start=1):
        if is_done:
            budget.note_done(1)
        elif budget.spend():
            letters += 1
            assert number < MIN_ENDED or letters <= share * number


@pytest.mark.parametrize("kind", ["poison", "failure"])
async def test_a_consumer_keeps_what_it_may_not_give_up_until_things_succeed(
    redis, redis_url, keys, stream, lines, kind
):
    """A broken deployment: few dead letters, the rest pending; mended, all of the rest is done by the same process."""
    is_broken, results, done = True, [], []

    async def attempt(delivery):
        if is_broken and kind == "poison":
            return Poison("no such configuration")
        if is_broken:
            raise LookupError
        done.append(delivery.text("n"))
        return Done()

    number = 3 * MIN_ENDED
    for name in range(number):
        await redis.xadd(stream.key, {"n": name})
    consumer = StreamConsumer(
        redis=redis,
        url=redis_url,
        keys=keys,
        streams=[stream],
        group=GROUP,
        limits=Limits(max_deliveries=1, retry_delay=0.01, heartbeat_ttl=0.6, grace=1),
        attempt=attempt,
        subject=lambda delivery: delivery.entry_id,
        on_result=results.append,
    )
    async with consumer.running():
        await until(lambda: results.count("kept") >= 2 * number)
        kept = number - (MIN_ENDED - 1)
        assert len([one async for one in list_letters(redis, keys)]) == MIN_ENDED - 1
        assert (await redis.xpending(stream.key, GROUP))["pending"] == kept
        assert events(lines).count("budget.spent") == 1
        is_broken = False
        await until(lambda: len(done) == kept, 40)
        await until(lambda: _is_settled(redis, stream))
    assert len([one async for one in list_letters(redis, keys)]) == MIN_ENDED - 1


async def _is_settled(redis, stream):
    return (await redis.xpending(stream.key, GROUP))["pending"] == 0
