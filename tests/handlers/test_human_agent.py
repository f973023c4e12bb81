"""The human agents: one person per conversation who really sits there, over crashes, queues and two processes."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from handlers.assignments import LEASE, Assignments
from handlers.consume import Consumption
from handlers.handler import Handler
from handlers.human_agent import HumanAgents
from handlers.roster import Agent, Roster
from handlers.sweep import AUDIT, Sweeper
from router.core.entries import ClosedData, JoinedData, LeftData
from router.streams.delivery import Done
from tests.handlers.harness import NOW, CrashError, delivery_of, dying, number, seat
from tests.support.accounts import OURS
from tests.support.waiting import until

DANA, ELI = Agent("dana", "Dana", 1), Agent("eli", "Eli", 1)


class Office:
    """One process of the human agents; every look at the clock is a ms later, and `later` moves it by seconds."""

    _ticks = itertools.count(1)

    def __init__(self, harness, *agents, later=0, joiners=None):
        books = Assignments(
            harness.redis,
            harness.keys,
            Roster(agents or (DANA, ELI)),
            clock=lambda: NOW // 1000 + later * 1000 + next(self._ticks),
        )
        joiners = joiners or harness.joiners
        self.sweeper = Sweeper(books=books, joiners=joiners)
        people = HumanAgents(books=books, joiners=joiners, sweeper=self.sweeper)
        handler = Handler({JoinedData.type: people.joined, LeftData.type: people.left, ClosedData.type: people.closed})
        self.consumption = Consumption("human_agent", handler, harness.effects("human-agent"))

    async def take(self, entry):
        assert isinstance(await self.consumption.attempt(delivery_of(entry)), Done)


async def people(harness, conversation):
    """Who of us sits there: (type, address, name)."""
    return [one for one in await harness.participants(conversation) if one[0] != "CUSTOMER"]


async def load(harness):
    return {
        key.decode(): int(value) for key, value in (await harness.redis.hgetall(harness.keys.roster("load"))).items()
    }


DANA_SITS, ELI_SITS = [("HUMAN_AGENT", "dana", "Dana")], [("HUMAN_AGENT", "eli", "Eli")]


async def test_the_least_busy_person_joins_once(harness, lines):
    """The person joins as HUMAN_AGENT under their identity, and redeliveries are silent."""
    office, opened = Office(harness), await harness.open()
    for _ in range(3):
        await office.take(opened.entry())
    assert await people(harness, opened.id) == DANA_SITS
    assert await load(harness) == {"dana": 1}
    line, *later = lines("consumed")
    assert (line["result"], line["agent"], line["handler"]) == ("joined", "dana", "human_agent")
    assert [one["result"] for one in later] == ["repeated", "repeated"]


@pytest.mark.parametrize(
    ("there", "result", "expected"),
    [
        pytest.param(None, "joined", [("HUMAN_AGENT", OURS, "Dana")], id="nobody"),
        pytest.param("AGENT", "promoted", [("HUMAN_AGENT", OURS, "Dana")], id="our side in general"),
        pytest.param("HUMAN_AGENT", "adopted", [("HUMAN_AGENT", OURS, None)], id="a person"),
        pytest.param("AI_AGENT", "joined", [("AI_AGENT", OURS, None), *DANA_SITS], id="the AI agent"),
    ],
)
async def test_a_person_sits_at_their_address_on_the_channel(harness, lines, there, result, expected):
    """Where the roster gives an address it is taken, and where another sits there the identity is."""
    office = Office(harness, Agent("dana", "Dana", 1, {"SMS": OURS}))
    opened = await harness.open(*([seat(there, OURS)] if there else []))
    await office.take(opened.entry())
    assert await people(harness, opened.id) == expected
    assert lines("consumed")[0]["result"] == result


async def test_an_identity_that_a_customer_has_is_left_alone(harness, lines):
    """Nobody is pushed out: the assignment stands, and the line warns."""
    opened = await harness.open(seat("CUSTOMER", "dana", "CHAT"))
    before = await harness.participants(opened.id)
    await Office(harness).take(opened.entry())
    assert await harness.participants(opened.id) == before
    assert [(one["result"], one["level"], one["agent"]) for one in lines("consumed")] == [
        ("address-taken", "warning", "dana")
    ]


async def test_a_second_customer_gets_the_same_person(harness):
    """Also on another channel; nobody is there twice."""
    office, opened = Office(harness), await harness.open()
    second = await harness.client.create_participant(opened.id, seat("CUSTOMER", f"whatsapp:{number()}", "WHATSAPP"))
    await office.take(opened.entry())
    await office.take(opened.with_customer(second).entry())
    assert await people(harness, opened.id) == DANA_SITS
    assert await load(harness) == {"dana": 1}


async def test_who_finds_no_room_waits_and_is_served_when_somebody_is_free(harness, lines):
    """The entry is done; the sweep that the freeing asks for lets the person join who waited longest."""
    office = Office(harness, DANA)
    first, second, third = [await harness.open() for _ in range(3)]
    for opened in (first, second, third):
        await office.take(opened.entry())
    assert [one["result"] for one in lines("consumed")] == ["joined", "waiting", "waiting"]
    assert await people(harness, second.id) == []
    running = asyncio.create_task(office.sweeper.run())
    await office.take(first.entry(ClosedData))
    await until(lambda: lines("roster.assigned"))
    running.cancel()
    assert await people(harness, second.id) == DANA_SITS
    assert await people(harness, third.id) == []
    assert lines("roster.assigned")[0]["agent"] == "dana"
    assert lines("consumed")[-1] == lines("consumed")[-1] | {"result": "released", "agent": "dana"}


async def test_the_last_customer_to_leave_frees_the_person(harness, lines):
    """One of two leaves: kept; the other: released."""
    office, opened = Office(harness), await harness.open()
    second = opened.with_customer(await harness.client.create_participant(opened.id, seat("CUSTOMER", number())))
    for one in (opened, second):
        await office.take(one.entry())
    for one in (opened, second):
        await office.take(one.entry(LeftData, at=NOW + 1000))
    assert [one["result"] for one in lines("consumed")] == ["joined", "adopted", "kept", "released"]
    assert await load(harness) == {}


async def test_what_comes_too_late_assigns_nobody(harness, lines):
    """A joining that its closing, its leaving or the API's state has overtaken costs nobody a place."""
    office = Office(harness)
    closed, left, shut = [await harness.open() for _ in range(3)]
    await office.take(closed.entry(ClosedData))
    await office.take(closed.entry())
    await office.take(left.entry(LeftData, at=NOW + 1000))
    await office.take(left.entry())
    await harness.close(shut.id)
    await office.take(shut.entry())
    assert [one["result"] for one in lines("consumed") if one["type"] == JoinedData.type] == [
        "conversation-closed",
        "customer-left",
        "conversation-closed",
    ]
    assert await load(harness) == {}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_one_person_over_a_crash_at_every_call(harness, after):
    """Wherever the process dies, redelivery ends with one person who sits there and counts once."""
    crashes = 0
    for at in range(1, 40):
        opened = await harness.open()
        mortal = dying(harness, at, after=after)
        try:
            await Office(mortal).take(opened.entry())
            break
        except CrashError:
            crashes += 1
        await Office(harness).take(opened.entry())
        assert (at, await people(harness, opened.id)) == (at, DANA_SITS)
        assert await load(harness) == {"dana": 1}
        await Office(harness).take(opened.entry(ClosedData))
        assert await load(harness) == {}
    assert crashes >= 6


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_one_person_for_who_waited_over_a_crash_at_every_call(harness, after):
    """Wherever the process dies between freeing and joining, the next entry or sweep anywhere finishes it."""
    crashes = 0
    for at in range(1, 40):
        first, second = await harness.open(), await harness.open()
        for opened in (first, second):
            await Office(harness, DANA).take(opened.entry())
        office = Office(dying(harness, at, after=after), DANA)
        try:
            await office.take(first.entry(ClosedData))
            await office.sweeper.sweep()
            break
        except CrashError:
            crashes += 1
        survivor = Office(harness, DANA, later=LEASE)
        await survivor.take(first.entry(ClosedData))
        await survivor.sweeper.sweep()
        assert (at, await people(harness, second.id)) == (at, DANA_SITS)
        assert await load(harness) == {"dana": 1}
        assert not await harness.redis.exists(harness.keys.roster("joining"), harness.keys.roster("waiting"))
        await survivor.take(second.entry(ClosedData))
    assert crashes >= 6


async def test_the_sweep_finishes_what_a_dead_process_left(harness):
    """Assigned and never joined, with no redelivery to come: after the lease any sweep lets the person join."""
    opened = await harness.open()
    books = Assignments(harness.redis, harness.keys, Roster((DANA,)), clock=lambda: NOW // 1000)
    data = opened.entry().data
    await books.enter(data.account_id, opened.id, opened.customer.id, "SMS", NOW // 1000)
    await Office(harness, later=LEASE - 1).sweeper.sweep()
    assert await people(harness, opened.id) == []
    await Office(harness, later=LEASE).sweeper.sweep()
    assert await people(harness, opened.id) == DANA_SITS


async def test_two_sweeps_at_once_seat_everybody_once(harness):
    """Two processes share what is due."""
    opened = [await harness.open() for _ in range(6)]
    many = Agent("dana", "Dana", 10)
    books = Assignments(harness.redis, harness.keys, Roster((many,)), clock=lambda: NOW // 1000)
    for one in opened:
        await books.enter(one.entry().data.account_id, one.id, one.customer.id, "SMS", NOW // 1000)
    await asyncio.gather(*(Office(harness, many, later=LEASE).sweeper.sweep() for _ in range(2)))
    for one in opened:
        assert await people(harness, one.id) == DANA_SITS


async def test_a_conversation_that_closed_unnoticed_frees_its_person(harness, lines):
    """A lost status callback keeps nobody busy for ever: the sweep asks, and who waited is served."""
    first, second = await harness.open(), await harness.open()
    office = Office(harness, DANA)
    for opened in (first, second):
        await office.take(opened.entry())
    await harness.close(first.id)
    audit = Office(harness, DANA, later=AUDIT)
    await audit.sweeper.sweep()
    assert lines("roster.released")[0]["conversation"] == first.id
    await audit.sweeper.sweep()
    assert await people(harness, second.id) == DANA_SITS


async def test_a_conversation_that_closes_while_it_waits_is_dropped(harness, lines):
    """The sweep that would seat the person finds it closed and frees the place again."""
    office = Office(harness, DANA)
    first, second, third = [await harness.open() for _ in range(3)]
    for opened in (first, second, third):
        await office.take(opened.entry())
    await harness.close(second.id)
    await office.take(first.entry(ClosedData))
    await office.sweeper.sweep()
    assert [one["conversation"] for one in lines("roster.released")] == [second.id]
    assert await people(harness, third.id) == DANA_SITS


async def test_a_refusal_in_the_sweep_is_logged_and_holds_nobody_up(harness, lines):
    """One conversation that the API refuses is tried again later; the others are seated now."""
    office = Office(harness)
    opened = [await harness.open() for _ in range(4)]
    for one in opened:
        await office.take(one.entry())
    for one in opened[:2]:
        await office.take(one.entry(ClosedData))
    await harness.fault("POST", "/Participants", status=400)
    await office.sweeper.sweep()
    assert [one["level"] for one in lines("roster.failed")] == ["warning"]
    assert len(lines("roster.assigned")) == 1
    await Office(harness, later=LEASE).sweeper.sweep()
    assert len(lines("roster.assigned")) == 2


async def test_a_sweep_that_an_outage_cuts_short_is_made_up_for(harness, lines):
    """What the API's absence interrupts is told, and done by the next sweep after the lease."""
    office = Office(harness, DANA)
    first, second = await harness.open(), await harness.open()
    for opened in (first, second):
        await office.take(opened.entry())
    await office.take(first.entry(ClosedData))
    await harness.fault("GET", "/Participants", status=503)
    await office.sweeper.sweep()
    assert [line["level"] for line in lines("roster.failed")] == ["warning"]
    assert await people(harness, second.id) == []
    await Office(harness, DANA, later=LEASE).sweeper.sweep()
    assert await people(harness, second.id) == DANA_SITS
