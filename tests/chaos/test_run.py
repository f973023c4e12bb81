"""A short round of chaos: the promises hold while processes are killed, Redis dies and stalls, and the API fails.

One round of `make chaos` (see tests/chaos/__init__.py), with a test for each promise. CHAOS_SEED selects another
schedule.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.chaos import accounting
from tests.chaos.accounting import ROWS
from tests.chaos.holders import HOLDER_ROWS
from tests.chaos.lasting import LASTING_ROWS
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
SEED = int(os.environ.get("CHAOS_SEED", "20261120"))

#: The rows of the table that show each promise.
PROMISES = {
    "1: an event with a 2xx is durable": (accounting.events_arrived,),
    "2: one participant, one participant.joined per stay, and each effect once": (
        accounting.messages_published,
        accounting.customers_present,
        accounting.customers_joined,
        accounting.customers_left,
        accounting.conversations_closed,
        accounting.targets_followed,
        accounting.entries_unique,
        accounting.entries_handled,
        accounting.entries_answered,
        accounting.agents_present,
    ),
    "3: entries of one conversation are in order": (
        accounting.stays_in_order,
        accounting.arrivals_in_order,
        accounting.departures_in_order,
    ),
    "4: nothing is dropped silently": (
        accounting.scenarios_finished,
        accounting.events_settled,
        accounting.nothing_left_over,
        accounting.no_dead_letters,
        *LASTING_ROWS,
        accounting.processes_ended_cleanly,
    ),
    "6: one holder at every moment, and every handoff ends": HOLDER_ROWS,
    "5: no address, body or secret in a log line": (accounting.logs_show_nothing_private,),
}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of one short round."""
    directory = tmp_path_factory.mktemp("chaos")
    return asyncio.run(Round(make_schedule(SEED, SHORT), directory, print).run())


@pytest.mark.parametrize("promise", PROMISES)
def test_a_promise_holds_in_spite_of_all_disturbances(report, promise):
    """Every row of the table about this promise is true."""
    rows = dict(zip(ROWS, report.rows, strict=True))
    assert all(rows[function].is_true for function in PROMISES[promise]), f"seed {SEED}\n{report.render()}"


def test_every_row_belongs_to_a_promise():
    """No row of the table is left out of the promises."""
    shown = [function for functions in PROMISES.values() for function in functions]
    assert sorted(shown, key=ROWS.index) == list(ROWS)


def test_the_round_was_disturbed(report, capsys):
    """Workers, receivers and consumers were killed, and Redis was killed and stalled."""
    with capsys.disabled():
        summary = "; ".join(f"{name} {text}" for name, text in report.summary.items())
        print(f"\nchaos, seed {SEED}: {summary}")  # noqa: T201 - the seed repeats the schedule
    assert int(report.summary["people"].split()[1]) > 0, "nobody's presence was lost"
    assert report.summary["Redis"] == "killed 1, stalled 1"
    assert all(kind in report.summary["killed"] for kind in ("web", "worker", "agent"))
