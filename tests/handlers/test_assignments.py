"""The books: least busy first, never over capacity, who waits longest comes first, and repeating changes nothing."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from handlers.assignments import GONE, LEASE, Assignments, Released
from handlers.roster import Agent, Roster

DANA, ELI = Agent("dana", "Dana", 2), Agent("eli", "Eli", 1)


class Clock:
    """Milliseconds that only a test moves."""

    def __init__(self):
        self.now = 1_800_000_000_000

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def open_books(harness, clock):
    def make(*agents):
        return Assignments(harness.redis, harness.keys, Roster(agents or (DANA, ELI)), clock=clock)

    return make


@pytest.fixture
def books(open_books):
    return open_books()


async def enter(books, conversation, customer="p1", channel="SMS", at=1):
    return await books.enter("AC1", conversation, customer, channel, at)


async def who(books, *conversations):
    """The agent of each, None where it waits."""
    entered = [await enter(books, conversation) for conversation in conversations]
    return [one.card.identity if one.card else None for one in entered]


async def loads(harness):
    found = await harness.redis.hgetall(harness.keys.roster("load"))
    return {name.decode(): int(load) for name, load in found.items()}


async def test_the_least_busy_with_room_is_chosen(books):
    """Ties go by the roster's order, who is full is passed over, and when all are full the next one waits."""
    assert await who(books, "c1", "c2", "c3", "c4") == ["dana", "eli", "dana", None]


async def test_entering_again_changes_nothing(harness, books):
    """A redelivered entry finds the agent that it was given, or still waits."""
    for _ in range(3):
        assert await who(books, "c1", "c2", "c3", "c4") == ["dana", "eli", "dana", None]
    assert await loads(harness) == {"dana": 2, "eli": 1}


async def test_a_second_customer_gets_the_same_agent(harness, books):
    """One conversation has one agent, and counts once."""
    first, second = await enter(books, "c1", "p1"), await enter(books, "c1", "p2")
    assert first.card == second.card
    assert await loads(harness) == {"dana": 1}


async def test_a_freed_place_goes_to_who_waits_longest(harness, books, clock):
    """Closing gives the place on in the same step, so that nobody can jump the queue."""
    await who(books, "c1", "c2", "c3")
    for conversation in ("late", "later", "latest"):
        clock.now += 1
        assert await who(books, conversation) == [None]
    assert await books.close("AC1", "c2") == Released("released", "eli", 1)
    assert await who(books, "late", "later", "latest") == ["eli", None, None]
    assert await loads(harness) == {"dana": 2, "eli": 1}


async def test_closing_again_changes_nothing(harness, books):
    """A redelivered closing frees nobody twice."""
    await who(books, "c1", "c2")
    assert (await books.close("AC1", "c1")).word == "released"
    assert (await books.close("AC1", "c1")).word == "unknown"
    assert await loads(harness) == {"eli": 1}


async def test_the_last_customer_to_leave_frees_the_agent(harness, books):
    """As long as one is there the agent stays; leaving twice is leaving once."""
    await enter(books, "c1", "p1")
    await enter(books, "c1", "p2")
    assert await books.leave("AC1", "c1", "p1", 2) == Released("kept", "dana")
    assert (await books.leave("AC1", "c1", "p1", 2)).word == "unknown"
    assert await books.leave("AC1", "c1", "p2", 2) == Released("released", "dana", 0)
    assert await loads(harness) == {}


async def test_who_waits_may_leave(books):
    """A conversation that ends while it waits gets no agent any more."""
    await who(books, "c1", "c2", "c3", "c4")
    assert await books.close("AC1", "c4") == Released("released", None, 0)
    assert (await books.close("AC1", "c1")).placed == 0


async def test_what_ends_a_stay_may_come_before_what_began_it(harness, books):
    """Two processes share a stream: a closing or leaving that overtakes is remembered for a while."""
    await books.close("AC1", "c1")
    assert (await enter(books, "c1")).word == "closed"
    await books.leave("AC1", "c2", "p1", 100)
    assert (await enter(books, "c2", at=99)).word == "left"
    assert (await enter(books, "c2", at=100)).word == "assigned"
    assert (await enter(books, "c3", at=99)).word == "assigned"
    for key in (harness.keys.gone("AC1|c1"), harness.keys.gone("AC1|c2|p1")):
        assert GONE - 60 < await harness.redis.ttl(key) <= GONE


async def test_two_processes_never_exceed_a_capacity(harness, open_books):
    """However many enter and close at once, nobody has more than they can take, and all have left in the end."""
    stores = [open_books(Agent("dana", "Dana", 3), Agent("eli", "Eli", 2)) for _ in range(2)]
    highest = Counter()

    connections = asyncio.Semaphore(50)

    async def live(number):
        async with connections:
            await enter(stores[number % 2], f"c{number}")
            for agent, load in (await loads(harness)).items():
                highest[agent] = max(highest[agent], load)
            await stores[(number + 1) % 2].close("AC1", f"c{number}")

    await asyncio.gather(*(live(number) for number in range(200)))
    assert highest == {"dana": 3, "eli": 2}
    assert await loads(harness) == {}
    for kind in ("conversations", "waiting", "joining", "checked"):
        assert not await harness.redis.exists(harness.keys.roster(kind))


async def test_two_processes_share_one_conversation(harness, open_books):
    """The same entry in two processes at once is one assignment."""
    stores = [open_books(), open_books()]
    entered = await asyncio.gather(*(enter(stores[number % 2], "c1") for number in range(20)))
    assert {one.card.identity for one in entered} == {"dana"}
    assert await loads(harness) == {"dana": 1}


async def test_a_joining_is_anybodys_after_its_lease(books, clock):
    """Who enters has time to join; then whoever looks takes it over, one at a time, until it is settled."""
    await enter(books, "c1")
    assert await books.take_due(10) == []
    clock.now += LEASE * 1000
    (record,) = await books.take_due(10)
    assert (record.account, record.conversation, record.customers) == ("AC1", "c1", {"p1": "SMS"})
    assert record.who.identity == "dana"
    assert await books.take_due(10) == []
    await books.settle("AC1", "c1", "somebody else")
    clock.now += LEASE * 1000
    assert len(await books.take_due(10)) == 1
    await books.settle("AC1", "c1", "dana")
    clock.now += LEASE * 1000
    assert await books.take_due(10) == []


async def test_who_got_a_freed_place_is_due_at_once(books, clock):
    """Nobody else has the joining of a conversation in hand that waited."""
    await who(books, "c1", "c2", "c3", "c4")
    await books.close("AC1", "c1")
    (record,) = await books.take_due(10)
    assert (record.conversation, record.agent) == ("c4", "dana")


async def test_somebody_new_on_the_roster_serves_who_waits(open_books):
    """Room that a new roster brings is given out by placing, without any entry."""
    few, many = open_books(ELI), open_books(ELI, DANA)
    await who(few, "c1", "c2", "c3")
    assert await few.place() == 0
    assert await many.place() == 2
    assert await who(few, "c2", "c3") == ["dana", "dana"]


async def test_somebody_taken_off_the_roster_keeps_what_they_have(harness, open_books):
    """Their conversations keep them, with what joining needs; they get no new ones, and are freed as ever."""
    both, without = open_books(), open_books(DANA)
    await who(both, "c1", "c2")
    assert await who(without, "c2", "c3", "c4") == ["eli", "dana", None]
    assert (await enter(without, "c2")).card.name == "Eli"
    assert (await without.close("AC1", "c2")).agent == "eli"
    assert await loads(harness) == {"dana": 2}


async def test_conversations_are_confirmed_in_turn(books, clock):
    """What was not asked about for long is handed out once, the oldest first."""
    await enter(books, "c1")
    clock.now += 1000
    await enter(books, "c2")
    clock.now += 59_000
    assert [one.conversation for one in await books.take_stale(10, 60)] == ["c1"]
    assert await books.take_stale(10, 60) == []
    clock.now += 1000
    assert [one.conversation for one in await books.take_stale(10, 60)] == ["c2"]
    clock.now += 100_000
    assert [one.conversation for one in await books.take_stale(1, 60)] == ["c1"]
    assert [one.conversation for one in await books.take_stale(1, 60)] == ["c2"]
    assert await books.take_stale(1, 60) == []


async def test_accounts_are_apart(harness, books):
    """The same conversation id of another account is another conversation."""
    await books.enter("AC1", "c1", "p1", "SMS", 1)
    await books.enter("AC2", "c1", "p1", "SMS", 1)
    assert await loads(harness) == {"dana": 1, "eli": 1}
