"""A process that is stopped for longer than its heartbeat, and goes on: what was taken over from it stays as it is.

It is stopped with SIGSTOP between two steps (tests.support.relay); another process takes its entry over and finishes
it; then it wakes up in the middle of its work, with all that it had read before. A commit is fenced by the revision of
the conversation, an effect by its marks, and what it acknowledges it has done or found done.
"""

from __future__ import annotations

import asyncio
import signal

import pytest

from router.core.keys import RESOLVER, Keys
from tests.support.relay import Side, Trap
from tests.support.waiting import until
from tests.windows.stories import STORIES

pytestmark = [pytest.mark.processes, pytest.mark.real, pytest.mark.asyncio(loop_scope="module"), pytest.mark.promise(2)]
BEFORE, AFTER = Side.BEFORE, Side.AFTER
OPEN, SEAT, SAY = (f"POST /v2/Conversations{path}" for path in ("", "/*/Participants", "/*/Actions"))
TEN_MINUTES = 600_000
#: What each role writes when it is done with an entry.
DONE = {"worker": "event", "ai_agent": "consumed", "human_agent": "consumed"}

STOPS = [
    ("worker", "new customer", "XREADGROUP", AFTER),
    ("worker", "new customer", OPEN, BEFORE),
    ("worker", "new customer", OPEN, AFTER),
    ("worker", "new customer", "commit", BEFORE),
    ("worker", "known customer", "commit", BEFORE),
    ("worker", "known customer", "XACK", BEFORE),
    ("worker", "closing", "commit", BEFORE),
    ("ai_agent", "new customer", "XREADGROUP", AFTER),
    ("ai_agent", "new customer", SEAT, BEFORE),
    ("ai_agent", "new customer", SEAT, AFTER),
    ("ai_agent", "new customer", SAY, AFTER),
    ("ai_agent", "new customer", "XACK", BEFORE),
    ("human_agent", "desk", "roster enter", BEFORE),
    ("human_agent", "desk", SEAT, BEFORE),
    ("human_agent", "desk", "roster settled", BEFORE),
]


@pytest.mark.parametrize(("role", "story", "step", "side"), STOPS)
async def test_who_wakes_up_after_a_take_over_changes_nothing(town, role, story, step, side):
    """Promise 2 with two processes that both believe to have the entry: one participant, one entry, one effect."""
    case = await STORIES[story].begin(town)
    sleeper = town.members[role]
    trap = sleeper.set(Trap(step, side, signal=signal.SIGSTOP))
    playing = asyncio.create_task(case.play())
    await trap.sprung()
    said = len(sleeper.process.find(DONE[role]))
    survivor = await town.start(role)
    await playing
    await case.ended()
    await until(lambda: survivor.process.find("claimed"))
    sleeper.resume(trap)
    if (role, step) != ("worker", "XACK"):  # a worker tells of a batch before it acknowledges it
        await until(lambda: len(sleeper.process.find(DONE[role])) > said)
    await case.ended()
    assert await sleeper.process.stop() == 0


async def test_a_text_is_sent_once_where_its_sender_sleeps_for_less_than_it_takes_to_be_certain(town):
    """Stopped right before it sends: who takes over waits whether the text appears, and it does when it wakes up."""
    case = await STORIES["new customer"].begin(town)
    sleeper = town.members["ai_agent"]
    trap = sleeper.set(Trap(SAY, BEFORE, signal=signal.SIGSTOP))
    await case.play()
    await trap.sprung()
    survivor = await town.start("ai_agent")
    await until(lambda: survivor.process.find("event.waiting"))
    sleeper.resume(trap)
    await town.let_pass(11)
    await case.ended()
    assert await sleeper.process.stop() == 0


async def test_an_acknowledgment_by_who_woke_up_loses_nothing(town):
    """It acknowledges what its successor works on, but only once it has committed it: the successor may die then."""
    case = await STORIES["new customer"].begin(town)
    sleeper = town.members["worker"]
    asleep = sleeper.set(Trap("XREADGROUP", AFTER, signal=signal.SIGSTOP))
    await case.play()
    await asleep.sprung()
    survivor = await town.start("worker")
    held = survivor.set(Trap(OPEN, BEFORE, signal=0))
    await held.sprung()
    sleeper.resume(asleep)
    await until(lambda: sleeper.process.find("event"))
    await town.settled()
    await survivor.process.kill()
    town.members["worker"] = sleeper
    await case.ended()


async def test_who_is_cut_off_from_redis_in_the_middle_of_a_call_changes_nothing_afterwards(town):
    """It lives, but nobody hears its heartbeat: another finishes the event, and what it would commit comes too late."""
    case = await STORIES["new customer"].begin(town)
    lonely = town.members["worker"]
    trap = lonely.set(Trap(OPEN, AFTER, signal=0))
    await case.play()
    await trap.sprung()
    await lonely.redis.cut()
    await town.start("worker")
    await case.ended()
    lonely.redis.mend()
    trap.resumed.set()
    await until(lambda: lonely.process.find("event"))
    await case.ended()
    assert await lonely.process.stop() == 0


async def test_a_live_consumer_keeps_an_event_for_ten_minutes_while_its_neighbors_flow(town):
    """Its entry looks idle for longer than any job queue would wait; nobody takes it, and others pass it by."""
    case = await STORIES["new customer"].begin(town)
    slow = town.members["worker"]
    trap = slow.set(Trap(OPEN, BEFORE, signal=0))
    await case.play()
    await trap.sprung()
    stream = Keys().inbound(0)
    [held] = await town.redis.xpending_range(stream, RESOLVER, "-", "+", 1)
    other = await town.start("worker")
    owner, entry = held["consumer"], held["message_id"]
    await town.redis.xclaim(stream, RESOLVER, owner, 0, [entry], idle=TEN_MINUTES, retrycount=1, justid=True)
    neighbors = [await STORIES["new customer"].begin(town, is_quiet=False) for _ in range(20)]
    for neighbor in neighbors:
        await neighbor.play()

    async def is_alone():
        """Only the slow one is left, for long enough that the other has looked for the dead many times."""
        rows = await town.redis.xpending_range(stream, RESOLVER, "-", "+", 10)
        return [row["message_id"] for row in rows] == [entry] and rows[0]["time_since_delivered"] > TEN_MINUTES + 2000

    await until(is_alone)
    [still] = await town.redis.xpending_range(stream, RESOLVER, "-", "+", 10)
    assert still["consumer"] == owner
    trap.resumed.set()
    for one in (case, *neighbors):
        await one.ended()
    assert other.process.find("claimed") == []
    assert await slow.process.stop() == 0
