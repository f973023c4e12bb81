"""SIGTERM under load: work in flight is finished or handed back within the grace period, and a successor goes on."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.support.relay import Breakpoint, Side
from tests.support.waiting import until
from tests.windows.scenarios import SCENARIOS

pytestmark = [pytest.mark.processes, pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
CUSTOMERS = 30
OPEN, SEAT = "POST /v2/Conversations", "POST /v2/Conversations/*/Participants"
#: Each consumer, a scenario, the log event of a finished entry, and an API request in the middle of the work.
CONSUMERS = [
    ("worker", "new customer", "event", OPEN),
    ("ai_agent", "new customer", "consumed", SEAT),
    ("human_agent", "desk", "consumed", SEAT),
]


@pytest.mark.parametrize(("role", "scenario", "line", "call"), CONSUMERS)
async def test_a_process_that_is_stopped_under_load_finishes_what_it_has_begun(deployment, role, scenario, line, call):
    """Beside a running successor, as in a rolling deployment: status 0, no webhook refused, everything done once."""
    cases = [await SCENARIOS[scenario].begin(deployment, is_quiet=False) for _ in range(CUSTOMERS)]
    leaver = deployment.processes[role]
    point = leaver.break_at(
        Breakpoint(call, Side.BEFORE, CUSTOMERS // 3, signal=0)
    )  # so that something is certainly in flight
    running = asyncio.gather(*(case.run() for case in cases))
    await point.reached()
    await deployment.start(role)
    done = len(leaver.find(line))
    leaver.send_signal(signal.SIGTERM)
    point.resumed.set()
    assert await leaver.wait() == 0
    assert len(leaver.find(line)) > done
    assert [one["event"] for one in leaver.lines[-2:]] == ["process.stopping", "process.stopped"]
    await running
    for case in cases:
        await case.finish()


@pytest.mark.parametrize(
    ("role", "scenario", "call"), [(role, scenario, call) for role, scenario, _, call in CONSUMERS]
)
async def test_work_that_does_not_finish_within_the_grace_period_is_handed_back_and_done_once(
    deployment, role, scenario, call
):
    """A request that hangs is canceled; the successor repeats it, and a late effect of the first changes nothing."""
    await deployment.processes[role].stop()
    leaver = await deployment.start(role, ROUTER_GRACE="0.3")
    point = leaver.break_at(Breakpoint(call, Side.BEFORE, signal=0))
    case = await SCENARIOS[scenario].begin(deployment)
    await case.run()
    await point.reached()
    assert await leaver.stop() == 0
    assert leaver.find("process.stopping")[0]["handed_back"] >= 1
    await deployment.start(role)
    await case.finish()
    point.resumed.set()
    await until(lambda: not leaver.api.is_busy)
    await case.finish()
