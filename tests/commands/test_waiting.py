"""`waiting`: why each event waits, since when, and when it is tried again."""

from __future__ import annotations

import orjson
import pytest

from router.__main__ import make_parser
from router.commands.waiting import run_waiting
from router.core.stories import event_id
from tests.operations.conftest import Deployment, settings  # noqa: F401 - a fixture
from tests.support.accounts import CUSTOMER

pytestmark = pytest.mark.real


@pytest.fixture
def deployment(redis, settings, environment):  # noqa: F811 - the fixture
    return Deployment(redis, settings)


async def run(*arguments):
    return await run_waiting(make_parser().parse_args(["waiting", *arguments]))


async def test_nothing_waits(deployment, capsys):
    """The last line counts."""
    assert await run() == 0
    assert capsys.readouterr().out == "0 events wait\n"


async def test_an_event_has_its_reason_and_what_is_behind_it_has_not(deployment, capsys):
    """The customer is masked unless an operator asks."""
    await deployment.park("k1", "k2", since=1_767_787_200_000)
    assert await run() == 0
    first, why, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith("2026-01-07T12:00:00.000Z  since ")
    assert f"  {event_id('k1')}  for resolver  from SMS +155***01  " in first
    assert why.startswith("    the API is away; tried 3 times, again in ")
    assert second.endswith("  (behind the one above)")
    assert last == "2 events wait"
    await run("--unmasked", "--limit", "1")
    shown = capsys.readouterr().out
    assert (CUSTOMER in shown, shown.splitlines()[-1]) == (True, "1 event waits")


async def test_an_event_behind_others_has_the_reason_if_they_are_not_shown(deployment, capsys):
    """The command that a story recommends shows one event of its customer: why it waits is what somebody looks for."""
    await deployment.park("k1", "k2", since=1_767_787_200_000)
    await run("--event", event_id("k2"))
    line, why, last = capsys.readouterr().out.splitlines()
    assert line.endswith("  (behind earlier ones)")
    assert why.startswith("    the API is away; tried 3 times, again in ")
    assert last == "1 event waits"


async def test_filters_and_json(deployment, capsys):
    """One object a line; a filter that takes nothing prints nothing."""
    await deployment.park("k1")
    await run("--json", "--event", event_id("k1"), "--since", "5m")
    (line,) = capsys.readouterr().out.splitlines()
    assert orjson.loads(line)["event_id"] == event_id("k1")
    await run("--json", "--reason", "call")
    assert capsys.readouterr().out == ""
