"""SIGTERM under load: what is in flight is finished or handed back within the grace, and whoever is there goes on."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.support.relay import Side, Trap
from tests.support.waiting import until
from tests.windows.stories import STORIES

pytestmark = [pytest.mark.processes, pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
CUSTOMERS = 30
OPEN, SEAT = "POST /v2/Conversations", "POST /v2/Conversations/*/Participants"
#: Each consumer, a story that it works in, what it writes when it is done with an entry, and a call in the middle.
CONSUMERS = [
    ("worker", "new customer", "event", OPEN),
    ("ai_agent", "new customer", "consumed", SEAT),
    ("human_agent", "desk", "consumed", SEAT),
]


@pytest.mark.parametrize(("role", "story", "line", "call"), CONSUMERS)
async def test_who_is_told_to_stop_under_load_finishes_what_it_has_begun(town, role, story, line, call):
    """Another one runs already, as in a rolling deployment: status 0, no webhook refused, everything done once."""
    cases = [await STORIES[story].begin(town, is_quiet=False) for _ in range(CUSTOMERS)]
    leaver = town.members[role]
    trap = leaver.set(Trap(call, Side.BEFORE, CUSTOMERS // 3, signal=0))  # something is in flight for certain
    playing = asyncio.gather(*(case.play() for case in cases))
    await trap.sprung()
    await town.start(role)
    done = len(leaver.process.find(line))
    leaver.process.send_signal(signal.SIGTERM)
    trap.resumed.set()
    assert await leaver.process.wait() == 0
    assert len(leaver.process.find(line)) > done
    assert [one["event"] for one in leaver.process.lines[-2:]] == ["process.stopping", "process.stopped"]
    await playing
    for case in cases:
        await case.ended()


@pytest.mark.parametrize(("role", "story", "call"), [(role, story, call) for role, story, _, call in CONSUMERS])
async def test_what_does_not_finish_within_the_grace_is_handed_back_and_done_once(town, role, story, call):
    """A call that hangs is cut off; whoever goes on does it, and what arrives of it afterwards changes nothing."""
    await town.members[role].process.stop()
    leaver = await town.start(role, ROUTER_GRACE="0.3")
    trap = leaver.set(Trap(call, Side.BEFORE, signal=0))
    case = await STORIES[story].begin(town)
    await case.play()
    await trap.sprung()
    assert await leaver.process.stop() == 0
    assert leaver.process.find("process.stopping")[0]["handed_back"] >= 1
    await town.start(role)
    await case.ended()
    trap.resumed.set()
    await until(lambda: not leaver.api.is_busy)
    await case.ended()
