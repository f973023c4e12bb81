"""Liveness: which consumers have failed, and which only wait."""

from __future__ import annotations

import asyncio
import math

import pytest

from router.streams.consuming.liveness import LONGEST_IDLE, Liveness
from router.tasks import end
from tests.support.waiting import deadline, until


class Heartbeat:
    """One that was renewed at `beaten_at`."""

    ttl, beaten_at = 2.0, 0.0

    def __init__(self):
        self.tasks = []


class Watch:
    """A Liveness with a clock that tests move, and its looks taken by hand."""

    def __init__(self):
        self.now, self.held, self.heartbeat = 0.0, {"an entry"}, Heartbeat()
        self.liveness = Liveness(self.heartbeat, self.held, clock=lambda: self.now)

    def look(self, after):
        self.now += after
        return self.liveness._find_idleness()


@pytest.fixture
def watch():
    watch = Watch()
    watch.look(0)
    return watch


def test_entries_that_nothing_works_on_are_a_failure(watch):
    """They would be held for ever."""
    assert watch.look(LONGEST_IDLE - 1) is None
    assert watch.look(1) == "1 entries are held, and nothing has worked on them for 30 s"


def test_an_attempt_that_runs_is_none_however_long_it_takes(watch):
    """A slow API, a slow handler."""
    watch.liveness.begin()
    assert watch.look(1_000_000) is None
    watch.liveness.end()
    assert watch.look(0) is None
    assert watch.look(LONGEST_IDLE) is not None


def test_a_step_begins_the_time_anew(watch):
    """Between two steps there may be a pause."""
    watch.look(LONGEST_IDLE - 1)
    watch.liveness.begin()
    watch.liveness.end()
    assert watch.look(LONGEST_IDLE - 1) is None
    assert watch.look(LONGEST_IDLE - 1) is None
    assert watch.look(1) is not None


def test_a_consumer_that_holds_nothing_has_nothing_to_do(watch):
    """It waits for entries."""
    watch.held.clear()
    assert watch.look(1_000_000) is None
    watch.held.add("an entry")
    assert watch.look(LONGEST_IDLE - 1) is None


def test_a_heartbeat_that_is_too_old_is_a_problem_that_may_pass(watch):
    """Redis, or an event loop that does not run: the process goes on, and says so when it is asked."""
    watch.now = 2.0
    assert watch.liveness.problem is None
    watch.now = 2.1
    assert "no heartbeat for 2 s" in watch.liveness.problem
    watch.heartbeat.beaten_at = 2.0
    assert watch.liveness.problem is None
    watch.heartbeat.beaten_at = -math.inf
    assert watch.liveness.problem is not None


async def raises():
    raise LookupError


async def returns():
    pass


@pytest.mark.parametrize(("work", "word"), [(raises, ": LookupError at "), (returns, "")], ids=["error", "end"])
async def test_a_background_task_that_ends_is_a_failure(watch, work, word):
    """No task that entries depend on ends unnoticed."""
    watch.liveness.tasks.append(asyncio.create_task(work(), name="claimer"))
    async with deadline(10):
        reason = await watch.liveness.failed(asyncio.Event().wait())
    assert reason.startswith(f"its task claimer has ended{word}")
    assert watch.liveness.problem == reason


@pytest.mark.real
@pytest.mark.parametrize("name", ["claimer", "watchdog", "heartbeat", "beside"])
async def test_a_consumer_that_lost_a_task_fails(bench, name):
    """Its process ends then, and another consumer takes its entries over."""
    consumer = bench.make()
    async with consumer.running():
        consumer.run_beside(asyncio.Event().wait(), "beside")
        failing = asyncio.create_task(consumer.failed())
        await until(lambda: not failing.done())
        tasks = [*consumer.liveness.tasks, *consumer.liveness.heartbeat.tasks]
        await end(*[task for task in tasks if task.get_name() == name])
        async with deadline(10):
            assert await failing == f"its task {name} has ended"
