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
from tests.handlers.world import NOW, OURS, CrashError, delivery_of, dying, number, seat, until

DANA, ELI = Agent("dana", "Dana", 1), Agent("eli", "Eli", 1)


class Office:
    """One process of the human agents; every look at the clock is a ms later, and `later` moves it by seconds."""

    _ticks = itertools.count(1)

    def __init__(self, world, *agents, later=0, joiners=None):
        books = Assignments(
            world.redis,
            world.keys,
            Roster(agents or (DANA, ELI)),
            clock=lambda: NOW // 1000 + later * 1000 + next(self._ticks),
        )
        joiners = joiners or world.joiners
        self.sweeper = Sweeper(books=books, joiners=joiners)
        people = HumanAgents(books=books, joiners=joiners, sweeper=self.sweeper)
        handler = Handler({JoinedData.type: people.joined, LeftData.type: people.left, ClosedData.type: people.closed})
        self.consumption = Consumption("human_agent", handler, world.effects("human-agent"))

    async def take(self, entry):
        assert isinstance(await self.consumption.attempt(delivery_of(entry)), Done)


async def people(world, conversation):
    """Who of us sits there: (type, address, name)."""
    return [one for one in await world.participants(conversation) if one[0] != "CUSTOMER"]


async def load(world):
    return {key.decode(): int(value) for key, value in (await world.redis.hgetall(world.keys.roster("load"))).items()}


DANA_SITS, ELI_SITS = [("HUMAN_AGENT", "dana", "Dana")], [("HUMAN_AGENT", "eli", "Eli")]


async def test_the_least_busy_person_joins_once(world, lines):
    """The person joins as HUMAN_AGENT under their identity, and redeliveries are silent."""
    office, opened = Office(world), await world.open()
    for _ in range(3):
        await office.take(opened.entry())
    assert await people(world, opened.id) == DANA_SITS
    assert await load(world) == {"dana": 1}
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
async def test_a_person_sits_at_their_address_on_the_channel(world, lines, there, result, expected):
    """Where the roster gives an address it is taken, and where another sits there the identity is."""
    office = Office(world, Agent("dana", "Dana", 1, {"SMS": OURS}))
    opened = await world.open(*([seat(there, OURS)] if there else []))
    await office.take(opened.entry())
    assert await people(world, opened.id) == expected
    assert lines("consumed")[0]["result"] == result


async def test_an_identity_that_a_customer_has_is_left_alone(world, lines):
    """Nobody is pushed out: the assignment stands, and the line warns."""
    opened = await world.open(seat("CUSTOMER", "dana", "CHAT"))
    before = await world.participants(opened.id)
    await Office(world).take(opened.entry())
    assert await world.participants(opened.id) == before
    assert [(one["result"], one["level"], one["agent"]) for one in lines("consumed")] == [
        ("address-taken", "warning", "dana")
    ]


async def test_a_second_customer_gets_the_same_person(world):
    """Also on another channel; nobody is there twice."""
    office, opened = Office(world), await world.open()
    second = await world.client.create_participant(opened.id, seat("CUSTOMER", f"whatsapp:{number()}", "WHATSAPP"))
    await office.take(opened.entry())
    await office.take(opened.with_customer(second).entry())
    assert await people(world, opened.id) == DANA_SITS
    assert await load(world) == {"dana": 1}


async def test_who_finds_no_room_waits_and_is_served_when_somebody_is_free(world, lines):
    """The entry is done; the sweep that the freeing asks for lets the person join who waited longest."""
    office = Office(world, DANA)
    first, second, third = [await world.open() for _ in range(3)]
    for opened in (first, second, third):
        await office.take(opened.entry())
    assert [one["result"] for one in lines("consumed")] == ["joined", "waiting", "waiting"]
    assert await people(world, second.id) == []
    running = asyncio.create_task(office.sweeper.run())
    await office.take(first.entry(ClosedData))
    await until(lambda: lines("roster.assigned"))
    running.cancel()
    assert await people(world, second.id) == DANA_SITS
    assert await people(world, third.id) == []
    assert lines("roster.assigned")[0]["agent"] == "dana"
    assert lines("consumed")[-1] == lines("consumed")[-1] | {"result": "released", "agent": "dana"}


async def test_the_last_customer_to_leave_frees_the_person(world, lines):
    """One of two leaves: kept; the other: released."""
    office, opened = Office(world), await world.open()
    second = opened.with_customer(await world.client.create_participant(opened.id, seat("CUSTOMER", number())))
    for one in (opened, second):
        await office.take(one.entry())
    for one in (opened, second):
        await office.take(one.entry(LeftData, at=NOW + 1000))
    assert [one["result"] for one in lines("consumed")] == ["joined", "adopted", "kept", "released"]
    assert await load(world) == {}


async def test_what_comes_too_late_assigns_nobody(world, lines):
    """A joining that its closing, its leaving or the API's state has overtaken costs nobody a place."""
    office = Office(world)
    closed, left, shut = [await world.open() for _ in range(3)]
    await office.take(closed.entry(ClosedData))
    await office.take(closed.entry())
    await office.take(left.entry(LeftData, at=NOW + 1000))
    await office.take(left.entry())
    await world.close(shut.id)
    await office.take(shut.entry())
    assert [one["result"] for one in lines("consumed") if one["type"] == JoinedData.type] == [
        "conversation-closed",
        "customer-left",
        "conversation-closed",
    ]
    assert await load(world) == {}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_one_person_over_a_crash_at_every_call(world, after):
    """Wherever the process dies, redelivery ends with one person who sits there and counts once."""
    crashes = 0
    for at in range(1, 40):
        opened = await world.open()
        mortal = dying(world, at, after=after)
        try:
            await Office(mortal).take(opened.entry())
            break
        except CrashError:
            crashes += 1
        await Office(world).take(opened.entry())
        assert (at, await people(world, opened.id)) == (at, DANA_SITS)
        assert await load(world) == {"dana": 1}
        await Office(world).take(opened.entry(ClosedData))
        assert await load(world) == {}
    assert crashes >= 6


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_one_person_for_who_waited_over_a_crash_at_every_call(world, after):
    """Wherever the process dies between freeing and joining, the next entry or sweep anywhere finishes it."""
    crashes = 0
    for at in range(1, 40):
        first, second = await world.open(), await world.open()
        for opened in (first, second):
            await Office(world, DANA).take(opened.entry())
        office = Office(dying(world, at, after=after), DANA)
        try:
            await office.take(first.entry(ClosedData))
            await office.sweeper.sweep()
            break
        except CrashError:
            crashes += 1
        survivor = Office(world, DANA, later=LEASE)
        await survivor.take(first.entry(ClosedData))
        await survivor.sweeper.sweep()
        assert (at, await people(world, second.id)) == (at, DANA_SITS)
        assert await load(world) == {"dana": 1}
        assert not await world.redis.exists(world.keys.roster("joining"), world.keys.roster("waiting"))
        await survivor.take(second.entry(ClosedData))
    assert crashes >= 6


async def test_the_sweep_finishes_what_a_dead_process_left(world):
    """Assigned and never joined, with no redelivery to come: after the lease any sweep lets the person join."""
    opened = await world.open()
    books = Assignments(world.redis, world.keys, Roster((DANA,)), clock=lambda: NOW // 1000)
    data = opened.entry().data
    await books.enter(data.account_id, opened.id, opened.customer.id, "SMS", NOW // 1000)
    await Office(world, later=LEASE - 1).sweeper.sweep()
    assert await people(world, opened.id) == []
    await Office(world, later=LEASE).sweeper.sweep()
    assert await people(world, opened.id) == DANA_SITS


async def test_two_sweeps_at_once_seat_everybody_once(world):
    """Two processes share what is due."""
    opened = [await world.open() for _ in range(6)]
    many = Agent("dana", "Dana", 10)
    books = Assignments(world.redis, world.keys, Roster((many,)), clock=lambda: NOW // 1000)
    for one in opened:
        await books.enter(one.entry().data.account_id, one.id, one.customer.id, "SMS", NOW // 1000)
    await asyncio.gather(*(Office(world, many, later=LEASE).sweeper.sweep() for _ in range(2)))
    for one in opened:
        assert await people(world, one.id) == DANA_SITS


async def test_a_conversation_that_closed_unnoticed_frees_its_person(world, lines):
    """A lost status callback keeps nobody busy for ever: the sweep asks, and who waited is served."""
    first, second = await world.open(), await world.open()
    office = Office(world, DANA)
    for opened in (first, second):
        await office.take(opened.entry())
    await world.close(first.id)
    audit = Office(world, DANA, later=AUDIT)
    await audit.sweeper.sweep()
    assert lines("roster.released")[0]["conversation"] == first.id
    await audit.sweeper.sweep()
    assert await people(world, second.id) == DANA_SITS


async def test_a_conversation_that_closes_while_it_waits_is_dropped(world, lines):
    """The sweep that would seat the person finds it closed and frees the place again."""
    office = Office(world, DANA)
    first, second, third = [await world.open() for _ in range(3)]
    for opened in (first, second, third):
        await office.take(opened.entry())
    await world.close(second.id)
    await office.take(first.entry(ClosedData))
    await office.sweeper.sweep()
    assert [one["conversation"] for one in lines("roster.released")] == [second.id]
    assert await people(world, third.id) == DANA_SITS


async def test_a_refusal_in_the_sweep_is_logged_and_holds_nobody_up(world, lines):
    """One conversation that the API refuses is tried again later; the others are seated now."""
    office = Office(world)
    opened = [await world.open() for _ in range(4)]
    for one in opened:
        await office.take(one.entry())
    for one in opened[:2]:
        await office.take(one.entry(ClosedData))
    await world.fault("POST", "/Participants", status=400)
    await office.sweeper.sweep()
    assert [one["level"] for one in lines("roster.failed")] == ["warning"]
    assert len(lines("roster.assigned")) == 1
    await Office(world, later=LEASE).sweeper.sweep()
    assert len(lines("roster.assigned")) == 2


async def test_a_sweep_that_an_outage_cuts_short_is_made_up_for(world, lines):
    """What the API's absence interrupts is told, and done by the next sweep after the lease."""
    office = Office(world, DANA)
    first, second = await world.open(), await world.open()
    for opened in (first, second):
        await office.take(opened.entry())
    await office.take(first.entry(ClosedData))
    await world.fault("GET", "/Participants", status=503)
    await office.sweeper.sweep()
    assert [line["level"] for line in lines("roster.failed")] == ["warning"]
    assert await people(world, second.id) == []
    await Office(world, DANA, later=LEASE).sweeper.sweep()
    assert await people(world, second.id) == DANA_SITS
