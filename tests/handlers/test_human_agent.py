"""The human agents: one person per conversation who has joined it, over crashes, waiting and two processes."""

from __future__ import annotations

import asyncio

import pytest

from handlers.assignments import LEASE, Assignments
from handlers.roster import Agent, Roster
from handlers.sweep import CONFIRM_AFTER
from router.core.entries import ClosedData, JoinedData, LeftData
from tests.handlers.harness import (
    DANA,
    DANA_JOINED,
    NOW,
    CrashError,
    HumanAgentProcess,
    crashing,
    number,
    participant,
)
from tests.support.accounts import OURS
from tests.support.waiting import until


async def test_the_least_busy_person_joins_once(harness, lines):
    """The person joins as HUMAN_AGENT under their identity; redeliveries change nothing."""
    process, opened = HumanAgentProcess(harness), await harness.open()
    for _ in range(3):
        await process.handle(opened.entry())
    assert await harness.our_participants(opened.id) == DANA_JOINED
    assert await harness.load() == {"dana": 1}
    line, *later = lines("consumed")
    assert (line["result"], line["agent"], line["handler"]) == ("joined", "dana", "human_agent")
    assert [one["result"] for one in later] == ["repeated", "repeated"]


@pytest.mark.parametrize(
    ("there", "result", "expected"),
    [
        pytest.param(None, "joined", [("HUMAN_AGENT", OURS, "Dana")], id="nobody"),
        pytest.param("AGENT", "promoted", [("HUMAN_AGENT", OURS, "Dana")], id="an agent of no kind"),
        pytest.param("HUMAN_AGENT", "adopted", [("HUMAN_AGENT", OURS, OURS)], id="a person"),
        pytest.param("AI_AGENT", "joined", [("AI_AGENT", OURS, OURS), *DANA_JOINED], id="the AI agent"),
    ],
)
async def test_a_person_joins_at_their_address_on_the_channel(harness, lines, there, result, expected):
    """If another participant has the address that the roster gives, the person joins under the identity."""
    process = HumanAgentProcess(harness, Agent("dana", "Dana", 1, {"SMS": OURS}))
    opened = await harness.open(*([participant(there, OURS)] if there else []))
    await process.handle(opened.entry())
    assert await harness.our_participants(opened.id) == expected
    assert lines("consumed")[0]["result"] == result


async def test_a_customer_with_the_persons_identity_is_not_replaced(harness, lines):
    """The person is assigned without joining, and the log line is a warning."""
    opened = await harness.open(participant("CUSTOMER", "dana", "CHAT"))
    before = await harness.participants(opened.id)
    await HumanAgentProcess(harness).handle(opened.entry())
    assert await harness.participants(opened.id) == before
    assert [(one["result"], one["level"], one["agent"]) for one in lines("consumed")] == [
        ("address-taken", "warning", "dana")
    ]


async def test_a_second_customer_gets_the_same_person(harness):
    """Also for a customer on another channel; the person joins once."""
    process, opened = HumanAgentProcess(harness), await harness.open()
    second = await harness.client.create_participant(
        opened.id, participant("CUSTOMER", f"whatsapp:{number()}", "WHATSAPP")
    )
    await process.handle(opened.entry())
    await process.handle(opened.with_customer(second).entry())
    assert await harness.our_participants(opened.id) == DANA_JOINED
    assert await harness.load() == {"dana": 1}


async def test_a_conversation_waits_until_a_person_has_capacity(harness, lines):
    """Its entry is done; the release wakes the sweep, in which the person joins the longest waiting conversation."""
    process = HumanAgentProcess(harness, DANA)
    first, second, third = [await harness.open() for _ in range(3)]
    for opened in (first, second, third):
        await process.handle(opened.entry())
    assert [one["result"] for one in lines("consumed")] == ["joined", "waiting", "waiting"]
    assert await harness.our_participants(second.id) == []
    running = asyncio.create_task(process.sweeper.run())
    await process.handle(first.entry(ClosedData))
    await until(lambda: lines("roster.assigned"))
    running.cancel()
    assert await harness.our_participants(second.id) == DANA_JOINED
    assert await harness.our_participants(third.id) == []
    assert lines("roster.assigned")[0]["agent"] == "dana"
    assert lines("consumed")[-1] == lines("consumed")[-1] | {"result": "released", "agent": "dana"}


async def test_the_last_customer_to_leave_frees_the_person(harness, lines):
    """After the first of two customers has left the result is kept, after the second released."""
    process, opened = HumanAgentProcess(harness), await harness.open()
    second = opened.with_customer(await harness.client.create_participant(opened.id, participant("CUSTOMER", number())))
    for one in (opened, second):
        await process.handle(one.entry())
    for one in (opened, second):
        await process.handle(one.entry(LeftData, at=NOW + 1000))
    assert [one["result"] for one in lines("consumed")] == ["joined", "adopted", "kept", "released"]
    assert await harness.load() == {}


async def test_an_outdated_joining_assigns_nobody(harness, lines):
    """A joining after its closing or its leaving, or in a conversation that the API has closed, uses no capacity."""
    process = HumanAgentProcess(harness)
    closed, left, shut = [await harness.open() for _ in range(3)]
    await process.handle(closed.entry(ClosedData))
    await process.handle(closed.entry())
    await process.handle(left.entry(LeftData, at=NOW + 1000))
    await process.handle(left.entry())
    await harness.close(shut.id)
    await process.handle(shut.entry())
    assert [one["result"] for one in lines("consumed") if one["type"] == JoinedData.type] == [
        "conversation-closed",
        "customer-left",
        "conversation-closed",
    ]
    assert await harness.load() == {}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_one_person_over_a_crash_at_every_call(harness, after):
    """Wherever the process crashes, after the redelivery one person has joined and counts once."""
    crashes = 0
    for at in range(1, 40):
        opened = await harness.open()
        crashing_harness = crashing(harness, at, after=after)
        try:
            await HumanAgentProcess(crashing_harness).handle(opened.entry())
            break
        except CrashError:
            crashes += 1
        await HumanAgentProcess(harness).handle(opened.entry())
        assert (at, await harness.our_participants(opened.id)) == (at, DANA_JOINED)
        assert await harness.load() == {"dana": 1}
        await HumanAgentProcess(harness).handle(opened.entry(ClosedData))
        assert await harness.load() == {}
    assert crashes >= 6


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_one_person_for_a_waiting_conversation_over_a_crash_at_every_call(harness, after):
    """Wherever the process crashes between release and join, the next entry or sweep of any process finishes it."""
    crashes = 0
    for at in range(1, 40):
        first, second = await harness.open(), await harness.open()
        for opened in (first, second):
            await HumanAgentProcess(harness, DANA).handle(opened.entry())
        process = HumanAgentProcess(crashing(harness, at, after=after), DANA)
        try:
            await process.handle(first.entry(ClosedData))
            await process.sweeper.sweep()
            break
        except CrashError:
            crashes += 1
        successor = HumanAgentProcess(harness, DANA, later=LEASE)
        await successor.handle(first.entry(ClosedData))
        await successor.sweeper.sweep()
        assert (at, await harness.our_participants(second.id)) == (at, DANA_JOINED)
        assert await harness.load() == {"dana": 1}
        assert not await harness.redis.exists(harness.keys.roster("joining"), harness.keys.roster("waiting"))
        await successor.handle(second.entry(ClosedData))
    assert crashes >= 6


async def test_the_sweep_finishes_joins_of_a_crashed_process(harness):
    """Without a redelivery, any sweep after the lease lets the assigned person join."""
    opened = await harness.open()
    assignments = Assignments(harness.redis, harness.keys, Roster((DANA,)), clock=lambda: NOW // 1000)
    data = opened.entry().data
    await assignments.add_customer(data.account_id, opened.id, opened.customer.id, "SMS", NOW // 1000)
    await HumanAgentProcess(harness, later=LEASE - 1).sweeper.sweep()
    assert await harness.our_participants(opened.id) == []
    await HumanAgentProcess(harness, later=LEASE).sweeper.sweep()
    assert await harness.our_participants(opened.id) == DANA_JOINED


async def test_concurrent_sweeps_join_once(harness):
    """Two processes share the pending joins."""
    opened = [await harness.open() for _ in range(6)]
    many = Agent("dana", "Dana", 10)
    assignments = Assignments(harness.redis, harness.keys, Roster((many,)), clock=lambda: NOW // 1000)
    for one in opened:
        await assignments.add_customer(one.entry().data.account_id, one.id, one.customer.id, "SMS", NOW // 1000)
    await asyncio.gather(*(HumanAgentProcess(harness, many, later=LEASE).sweeper.sweep() for _ in range(2)))
    for one in opened:
        assert await harness.our_participants(one.id) == DANA_JOINED


async def test_a_conversation_that_closed_without_an_entry_frees_its_person(harness, lines):
    """After a lost status callback the sweep asks the API, and the waiting conversation is assigned."""
    first, second = await harness.open(), await harness.open()
    process = HumanAgentProcess(harness, DANA)
    for opened in (first, second):
        await process.handle(opened.entry())
    await harness.close(first.id)
    later = HumanAgentProcess(harness, DANA, later=CONFIRM_AFTER)
    await later.sweeper.sweep()
    assert lines("roster.released")[0]["conversation"] == first.id
    await later.sweeper.sweep()
    assert await harness.our_participants(second.id) == DANA_JOINED


async def test_a_conversation_that_closes_while_it_waits_is_released(harness, lines):
    """The sweep finds it closed when the person is to join, and assigns the next one."""
    process = HumanAgentProcess(harness, DANA)
    first, second, third = [await harness.open() for _ in range(3)]
    for opened in (first, second, third):
        await process.handle(opened.entry())
    await harness.close(second.id)
    await process.handle(first.entry(ClosedData))
    await process.sweeper.sweep()
    assert [one["conversation"] for one in lines("roster.released")] == [second.id]
    assert await harness.our_participants(third.id) == DANA_JOINED


async def test_a_refusal_in_the_sweep_delays_no_other_conversation(harness, lines):
    """It is logged, and retried after the lease; in the other conversations people join now."""
    process = HumanAgentProcess(harness)
    opened = [await harness.open() for _ in range(4)]
    for one in opened:
        await process.handle(one.entry())
    for one in opened[:2]:
        await process.handle(one.entry(ClosedData))
    await harness.fault("POST", "/Participants", status=400)
    await process.sweeper.sweep()
    assert [one["level"] for one in lines("roster.failed")] == ["warning"]
    assert len(lines("roster.assigned")) == 1
    await HumanAgentProcess(harness, later=LEASE).sweeper.sweep()
    assert len(lines("roster.assigned")) == 2


async def test_a_sweep_that_an_outage_interrupts_is_finished_later(harness, lines):
    """The outage is logged, and the next sweep after the lease lets the person join."""
    process = HumanAgentProcess(harness, DANA)
    first, second = await harness.open(), await harness.open()
    for opened in (first, second):
        await process.handle(opened.entry())
    await process.handle(first.entry(ClosedData))
    await harness.fault("GET", "/Participants", status=503)
    await process.sweeper.sweep()
    assert [line["level"] for line in lines("roster.failed")] == ["warning"]
    assert await harness.our_participants(second.id) == []
    await HumanAgentProcess(harness, DANA, later=LEASE).sweeper.sweep()
    assert await harness.our_participants(second.id) == DANA_JOINED
