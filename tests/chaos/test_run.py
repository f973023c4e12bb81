"""A short round of chaos: what is promised holds while processes are killed, Redis dies and stalls, and the API fails.

The whole router as real processes, with the books that `make chaos` makes (see tests/chaos/__init__.py), once, and a
test for each promise. ROUTER_CHAOS_SEED is another schedule.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.chaos import accounting
from tests.chaos.accounting import ROWS
from tests.chaos.run import Round
from tests.chaos.schedule import SHORT, make_schedule

pytestmark = [
    pytest.mark.processes,
    pytest.mark.real,
    pytest.mark.timeout(300),
    pytest.mark.promise(1),
    pytest.mark.promise(2),
    pytest.mark.promise(3),
    pytest.mark.promise(4),
    pytest.mark.promise(5),
]
SEED = int(os.environ.get("ROUTER_CHAOS_SEED", "20261120"))

#: The rows of the table that show each promise.
PROMISES = {
    "1: an event with a 2xx is durable": (accounting.events_arrived,),
    "2: one participant, one participant.joined per stay, and each effect once": (
        accounting.words_heard,
        accounting.customers_seated,
        accounting.customers_joined,
        accounting.customers_left,
        accounting.conversations_closed,
        accounting.targets_kept,
        accounting.entries_unique,
        accounting.entries_handled,
        accounting.entries_answered,
        accounting.seats_taken,
        accounting.roster_kept,
    ),
    "3: entries of one conversation are in order": (
        accounting.stays_in_order,
        accounting.arrivals_in_order,
        accounting.departures_in_order,
    ),
    "4: nothing is dropped silently": (
        accounting.stories_told,
        accounting.events_ended,
        accounting.nothing_waits,
        accounting.no_dead_letters,
        accounting.ends_clean,
    ),
    "5: no address, body or secret in a log line": (accounting.logs_are_silent,),
}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of one short round."""
    directory = tmp_path_factory.mktemp("chaos")
    return asyncio.run(Round(make_schedule(SEED, SHORT), directory, print).run())


@pytest.mark.parametrize("promise", PROMISES)
def test_a_promise_holds_in_the_storm(report, promise):
    """Every row of the table that shows this promise is true."""
    rows = dict(zip(ROWS, report.rows, strict=True))
    assert all(rows[function].is_true for function in PROMISES[promise]), f"seed {SEED}\n{report.render()}"


def test_every_row_shows_a_promise():
    """No row of the table stands for nothing."""
    shown = [function for functions in PROMISES.values() for function in functions]
    assert sorted(shown, key=ROWS.index) == list(ROWS)


def test_the_storm_was_one(report, capsys):
    """Workers, receivers and consumers were killed, Redis was killed and stalled, and much came all the same."""
    with capsys.disabled():
        told = "; ".join(f"{name} {text}" for name, text in report.told.items())
        print(f"\nchaos, seed {SEED}: {told}")  # noqa: T201 - the seed repeats the schedule
    assert report.told["Redis"] == "killed 1, stalled 1"
    assert all(kind in report.told["killed"] for kind in ("web", "worker", "agent"))
