"""The dead-letter budget: single failures are given up; when most entries fail, they are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.streams.consuming.budget import MIN_ENDED, WINDOW, Budget
from router.streams.consuming.lanes import kept_lane
from router.streams.delivery import Done, Limits, Poison
from router.streams.store.parking import Parking
from tests.streams.bench import GROUP
from tests.support.waiting import until


class Clock:
    """A clock that a test moves."""

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


def test_a_few_failures_are_given_up_even_if_nothing_succeeds(budget, lines):
    """So few say nothing about the cause."""
    assert [budget.spend() for _ in range(MIN_ENDED - 1)] == [True] * (MIN_ENDED - 1)
    assert lines() == []


def test_when_most_entries_fail_the_budget_is_spent_and_logged_once(budget, lines):
    """From the failure that exceeds the share nothing is given up; there is one line at level error."""
    for _ in range(MIN_ENDED - 1):
        budget.spend()
    assert [budget.spend() for _ in range(50)] == [False] * 50
    [line] = lines()
    assert (line["event"], line["level"], line["group"]) == ("budget.spent", "error", GROUP)
    assert (line["failed"], line["ended"], line["share"]) == (MIN_ENDED, MIN_ENDED, 0.5)


def test_failures_within_the_share_are_always_given_up(budget, lines):
    """Bad entries among as many good ones are not a broken deployment."""
    for _ in range(500):
        budget.note_done(1)
        assert budget.spend()
    assert lines() == []


def test_entries_that_ended_before_the_window_do_not_count(budget, clock):
    """A good hour does not offset a bad minute, and failures far apart never add up."""
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


def test_a_spent_budget_recovers_by_successes_and_not_by_silence(budget, clock, lines):
    """It recovers once the failures within the window are no more than the share, which is logged once."""
    for _ in range(MIN_ENDED):
        budget.spend()
    clock.now += 10 * WINDOW
    assert not budget.spend()
    assert budget._is_spent
    budget.note_done(1)
    assert not budget._is_spent
    assert budget.spend()
    assert [line["event"] for line in lines()] == ["budget.spent", "budget.recovered"]


def test_few_successes_among_many_failures_do_not_recover_the_budget(budget):
    """Entries that are kept go on failing, and each of those tries counts."""
    for _ in range(100):
        budget.spend()
    budget.note_done(99)
    assert budget._is_spent
    budget.note_done(1)
    assert not budget._is_spent


@given(st.lists(st.booleans(), max_size=200))
def test_a_share_of_one_disables_the_budget(ends):
    """Every failure may become a dead letter."""
    budget = Budget(1.0, group=GROUP, clock=Clock())
    for is_done in ends:
        if is_done:
            budget.note_done(1)
        else:
            assert budget.spend()


@given(st.lists(st.booleans(), max_size=300), st.floats(0, 0.99))
def test_no_more_than_the_share_is_ever_given_up(ends, share):
    """In any order, from MIN_ENDED on the letters of one minute stay within the share of all ended entries."""
    budget, letters = Budget(share, group=GROUP, clock=Clock()), 0
    for number, is_done in enumerate(ends, start=1):
        if is_done:
            budget.note_done(1)
        elif budget.spend():
            letters += 1
            assert number < MIN_ENDED or letters <= share * number


def test_a_kept_entry_counts_once(budget, clock):
    """However often kept entries fail again, the minute after the last new failure has none: one success recovers."""
    kept = [budget.spend() for _ in range(150)].count(False)
    assert kept == 150 - (MIN_ENDED - 1)
    for _ in range(3):
        clock.now += WINDOW / 2
        assert not any(budget.spend(is_kept=True) for _ in range(kept))
    budget.note_done(1)
    assert not budget._is_spent


def test_kept_entries_become_dead_letters_within_the_share_of_what_succeeds(budget, clock, lines):
    """Of 100 entries that succeed in a minute, as many kept ones may end; they never spend the budget again."""
    for _ in range(500):
        budget.spend()
    clock.now += WINDOW
    for _ in range(100):
        budget.note_done(1)
    assert [budget.spend(is_kept=True) for _ in range(300)].count(True) == 100
    clock.now += WINDOW
    budget.note_done(7)
    assert [budget.spend(is_kept=True) for _ in range(300)].count(True) == 7
    assert [line["event"] for line in lines()] == ["budget.spent", "budget.recovered"]


def test_a_fresh_budget_has_no_allowance_for_kept_entries():
    """A restart alone turns no kept entry into a dead letter."""
    budget = Budget(0.5, group=GROUP, clock=Clock())
    assert not budget.spend(is_kept=True)
    assert budget.spend()


@pytest.mark.parametrize("window", [2, 500])
@pytest.mark.parametrize("kind", ["poison", "failure"])
async def test_a_consumer_keeps_entries_until_things_succeed(bench, lines, kind, window):
    """After a broken deployment there are few dead letters; once it is fixed the same process does the rest.

    Whatever the window: kept entries hold no place in it.
    """
    is_broken, done = True, []

    async def attempt(delivery):
        if is_broken and kind == "poison":
            return Poison("no such configuration")
        if is_broken:
            raise LookupError
        done.append(delivery.text("n"))
        return Done()

    number = 3 * MIN_ENDED
    kept = number - (MIN_ENDED - 1)
    await bench.add(*map(str, range(number)))
    limits = Limits(window=window, max_deliveries=1, retry_delay=0.01, heartbeat_ttl=0.6, grace=1)
    async with bench.make(limits=limits, attempt=attempt).running():
        await until(lambda: bench.results["dead"] == MIN_ENDED - 1 and bench.results["kept"])
        assert len(await bench.letters()) == MIN_ENDED - 1
        assert len(lines("budget.spent")) == 1
        if kind == "poison":  # the lane of failures closes, so that most have not been tried often enough to be kept
            await until(lambda: waits_apart(bench))  # no good entry waits behind them
        is_broken = False
        await until(lambda: len(done) == kept)
        await until(bench.is_settled)
    assert len(await bench.letters()) == MIN_ENDED - 1


async def waits_apart(bench):
    """Return whether all that waits does so in the lane of kept entries."""
    return {one.lane for one in await bench.parked()} == {kept_lane("")}


async def test_kept_entries_hold_up_no_good_one_and_end_as_dead_letters(bench):
    """More poison than the window has slots, then good entries: all of those are done, and the poison ends in time."""

    async def attempt(delivery):
        return Poison("never") if delivery.text("n").startswith("bad") else Done()

    await bench.add(*[f"bad{number}" for number in range(3 * MIN_ENDED)])
    limits = Limits(window=2, batch=10, retry_delay=0.01, heartbeat_ttl=0.6, grace=1)
    async with bench.make(limits=limits, attempt=attempt).running():
        await until(lambda: bench.results["kept"])
        await bench.add(*[f"good{number}" for number in range(4 * MIN_ENDED)])
        await until(bench.is_settled)
    assert len(await bench.letters()) == 3 * MIN_ENDED


async def test_after_a_restart_kept_entries_are_kept_still(bench, redis, keys):
    """The next process does not begin to make dead letters of them before something succeeds."""
    is_broken = True

    async def attempt(_):
        return Poison("never") if is_broken else Done()

    async def are_kept():
        return len([one for one in await bench.parked() if one.is_kept]) == kept

    number = 2 * MIN_ENDED
    kept = number - (MIN_ENDED - 1)
    await bench.add(*map(str, range(number)))
    limits = Limits(retry_delay=600, heartbeat_ttl=0.6, grace=1)
    async with bench.make(limits=limits, attempt=attempt).running():
        await until(are_kept)
    subjects = [one.subject for one in await bench.parked()]
    await Parking(redis, keys, group=GROUP, consumer="nobody").resume(bench.stream, subjects)
    bench.results.clear()
    async with bench.make(limits=replace(limits, retry_delay=0.01), attempt=attempt).running():
        await until(lambda: bench.results["kept"] >= kept)
        assert len(await bench.letters()) == MIN_ENDED - 1
        is_broken = False
        await until(bench.is_settled)
    assert len(await bench.letters()) == MIN_ENDED - 1
