"""A process that is stopped for longer than its heartbeat lives, and goes on: its claimed entries stay as they are.

It is stopped with SIGSTOP between two steps (tests.support.relay); another process claims its entry and finishes it;
then the first resumes in the middle of its work, with all that it had read before. A commit is fenced by the revision
of the conversation, an effect by its marks, and an acknowledgment follows only what was done or found done.
"""

from __future__ import annotations

import asyncio
import signal

import pytest

from router.core.keys import RESOLVER, Keys
from tests.support.relay import Breakpoint, Side
from tests.support.waiting import scaled, until
from tests.windows.scenarios import SCENARIOS

pytestmark = [pytest.mark.processes, pytest.mark.real, pytest.mark.asyncio(loop_scope="module"), pytest.mark.promise(2)]
BEFORE, AFTER = Side.BEFORE, Side.AFTER
OPEN, SEAT, SAY = (f"POST /v2/Conversations{path}" for path in ("", "/*/Participants", "/*/Actions"))
TEN_MINUTES = 600_000
#: The log event of each role for a finished entry.
DONE = {"worker": "event", "ai_agent": "consumed", "human_agent": "consumed"}
#: Scenarios in which the worker applies a command.
COMMANDED = {"handoff", "release"}

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
    ("worker", "handoff", "commit", BEFORE),
    ("worker", "handoff", "desk settle", BEFORE),
    ("worker", "handoff", "timers_set", BEFORE),
    ("worker", "release", "commit", BEFORE),
    ("worker", "release", "desk settle", BEFORE),
    ("human_agent", "desk", "begin", BEFORE),
    ("human_agent", "desk", SEAT, BEFORE),
    ("human_agent", "desk", SEAT, AFTER),
]


@pytest.mark.parametrize(("role", "scenario", "step", "side"), STOPS)
async def test_a_process_that_resumes_after_a_take_over_changes_nothing(deployment, role, scenario, step, side):
    """Promise 2 while two processes work on the entry: one participant, one entry, one effect."""
    case = await SCENARIOS[scenario].begin(deployment)
    stopped = deployment.processes[role]
    point = stopped.break_at(Breakpoint(step, side, signal=signal.SIGSTOP))
    running = asyncio.create_task(case.run())
    await point.reached()
    finished = "command" if scenario in COMMANDED else DONE[role]
    done = len(stopped.find(finished))
    successor = await deployment.start(role)
    await running
    await case.finish()
    await until(lambda: successor.find("claimed"))
    reads = stopped.redis.passed["XREADGROUP"]
    stopped.resume(point)

    def has_gone_on():
        """Tell whether it finished the entry, or reads again because its client no longer waits for the held reply."""
        reads_again = step == "XREADGROUP" and stopped.redis.passed["XREADGROUP"] > reads + 1
        return reads_again or len(stopped.find(finished)) > done

    if (role, step) != ("worker", "XACK"):  # a worker logs a batch before it acknowledges it
        await until(has_gone_on)
    await case.finish()
    assert await stopped.stop() == 0
    await case.finish()


async def test_a_text_is_sent_once_if_its_sender_resumes_before_the_successor_gives_up_waiting_for_it(deployment):
    """Stopped just before it sends: the successor waits for the text, which appears when the first resumes."""
    case = await SCENARIOS["new customer"].begin(deployment)
    stopped = deployment.processes["ai_agent"]
    point = stopped.break_at(Breakpoint(SAY, BEFORE, signal=signal.SIGSTOP))
    await case.run()
    await point.reached()
    successor = await deployment.start("ai_agent")
    await until(lambda: successor.find("event.waiting"))
    stopped.resume(point)
    await deployment.age_effects(11)
    await case.finish()
    assert await stopped.stop() == 0


async def test_an_acknowledgment_by_a_resumed_process_loses_nothing(deployment):
    """It acknowledges its successor's entry only after committing it itself, so that the successor may crash then."""
    case = await SCENARIOS["new customer"].begin(deployment)
    stopped = deployment.processes["worker"]
    held_back = stopped.break_at(Breakpoint("XREADGROUP", AFTER, signal=signal.SIGSTOP))
    await case.run()
    await held_back.reached()
    successor = await deployment.start("worker")
    held = successor.break_at(Breakpoint(OPEN, BEFORE, signal=0))
    await held.reached()
    stopped.resume(held_back)
    await until(lambda: stopped.find("event"))
    await deployment.until_idle()
    await successor.kill()
    deployment.processes["worker"] = stopped
    await case.finish()


async def test_a_worker_cut_off_from_redis_during_a_request_changes_nothing_afterwards(deployment):
    """It runs without a heartbeat: another worker finishes the event, and its own commit comes too late."""
    case = await SCENARIOS["new customer"].begin(deployment)
    isolated = deployment.processes["worker"]
    point = isolated.break_at(Breakpoint(OPEN, AFTER, signal=0))
    await case.run()
    await point.reached()
    await isolated.redis.disconnect()
    await deployment.start("worker")
    await case.finish()
    isolated.redis.reconnect()
    point.resumed.set()
    await until(lambda: isolated.find("event"))
    await case.finish()
    assert await isolated.stop() == 0


async def test_a_live_consumer_keeps_an_entry_for_ten_minutes_while_others_are_processed(deployment):
    """Its entry is idle for longer than any job queue would wait; no consumer claims it, and others overtake it."""
    case = await SCENARIOS["new customer"].begin(deployment)
    slow = deployment.processes["worker"]
    point = slow.break_at(Breakpoint(OPEN, BEFORE, signal=0))
    await case.run()
    await point.reached()
    stream = Keys().inbound(0)
    [held] = await deployment.redis.xpending_range(stream, RESOLVER, "-", "+", 1)
    other = await deployment.start("worker")
    owner, entry = held["consumer"], held["message_id"]
    await deployment.redis.xclaim(stream, RESOLVER, owner, 0, [entry], idle=TEN_MINUTES, retrycount=1, justid=True)
    neighbors = [await SCENARIOS["new customer"].begin(deployment, is_quiet=False) for _ in range(20)]
    for neighbor in neighbors:
        await neighbor.run()

    long_enough = TEN_MINUTES + scaled(2) * 1000

    async def is_only_one_left():
        """Tell whether only the slow entry is left, and the other worker has looked for entries to claim many times."""
        rows = await deployment.redis.xpending_range(stream, RESOLVER, "-", "+", 10)
        return [row["message_id"] for row in rows] == [entry] and rows[0]["time_since_delivered"] > long_enough

    await until(is_only_one_left)
    [still] = await deployment.redis.xpending_range(stream, RESOLVER, "-", "+", 10)
    assert still["consumer"] == owner
    point.resumed.set()
    for one in (case, *neighbors):
        await one.finish()
    assert other.find("claimed") == []
    assert await slow.stop() == 0
