"""Assignments: the least busy person first, never over capacity, the longest waiting first, and repeatable."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from handlers.assignments import GONE, LEASE, AssignmentOutcome, Assignments, Release, ReleaseOutcome
from handlers.roster import Agent, Roster

DANA, ELI = Agent("dana", "Dana", 2), Agent("eli", "Eli", 1)


class Clock:
    """A clock in ms that only a test moves."""

    def __init__(self):
        self.now = 1_800_000_000_000

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_assignments(harness, clock):
    def make(*agents):
        return Assignments(harness.redis, harness.keys, Roster(agents or (DANA, ELI)), clock=clock)

    return make


@pytest.fixture
def assignments(make_assignments):
    return make_assignments()


async def add(assignments, conversation, customer="p1", channel="SMS", at=1):
    return await assignments.add_customer("AC1", conversation, customer, channel, at)


async def assigned(assignments, *conversations):
    """Return the agent of each conversation, None for one that waits."""
    results = [await add(assignments, conversation) for conversation in conversations]
    return [one.agent.identity if one.agent else None for one in results]


async def loads(harness):
    found = await harness.redis.hgetall(harness.keys.roster("load"))
    return {name.decode(): int(load) for name, load in found.items()}


async def test_the_least_busy_person_below_capacity_is_assigned(assignments):
    """Equally busy people are assigned in the roster's order; when all are at capacity the conversation waits."""
    assert await assigned(assignments, "c1", "c2", "c3", "c4") == ["dana", "eli", "dana", None]


async def test_adding_a_customer_again_changes_nothing(harness, assignments):
    """A redelivered entry gets the same person, or still waits."""
    for _ in range(3):
        assert await assigned(assignments, "c1", "c2", "c3", "c4") == ["dana", "eli", "dana", None]
    assert await loads(harness) == {"dana": 2, "eli": 1}


async def test_a_second_customer_gets_the_same_agent(harness, assignments):
    """A conversation has one person and counts once."""
    first, second = await add(assignments, "c1", "p1"), await add(assignments, "c1", "p2")
    assert first.agent == second.agent
    assert await loads(harness) == {"dana": 1}


async def test_freed_capacity_goes_to_the_longest_waiting_conversation(harness, assignments, clock):
    """Closing and assigning are one atomic step, so no later conversation comes first."""
    await assigned(assignments, "c1", "c2", "c3")
    for conversation in ("late", "later", "latest"):
        clock.now += 1
        assert await assigned(assignments, conversation) == [None]
    assert await assignments.close("AC1", "c2") == Release(ReleaseOutcome.RELEASED, "eli", 1)
    assert await assigned(assignments, "late", "later", "latest") == ["eli", None, None]
    assert await loads(harness) == {"dana": 2, "eli": 1}


async def test_closing_again_changes_nothing(harness, assignments):
    """A redelivered closing frees the person once."""
    await assigned(assignments, "c1", "c2")
    assert (await assignments.close("AC1", "c1")).outcome is ReleaseOutcome.RELEASED
    assert (await assignments.close("AC1", "c1")).outcome is ReleaseOutcome.UNKNOWN
    assert await loads(harness) == {"eli": 1}


async def test_the_last_customer_to_leave_frees_the_agent(harness, assignments):
    """The person is kept while another customer is there, and a repeated leaving changes nothing."""
    await add(assignments, "c1", "p1")
    await add(assignments, "c1", "p2")
    assert await assignments.remove_customer("AC1", "c1", "p1", 2) == Release(ReleaseOutcome.KEPT, "dana")
    assert (await assignments.remove_customer("AC1", "c1", "p1", 2)).outcome is ReleaseOutcome.UNKNOWN
    assert await assignments.remove_customer("AC1", "c1", "p2", 2) == Release(ReleaseOutcome.RELEASED, "dana", 0)
    assert await loads(harness) == {}


async def test_a_waiting_conversation_may_close(assignments):
    """It is not assigned afterwards."""
    await assigned(assignments, "c1", "c2", "c3", "c4")
    assert await assignments.close("AC1", "c4") == Release(ReleaseOutcome.RELEASED, None, 0)
    assert (await assignments.close("AC1", "c1")).newly_assigned == 0


async def test_a_closing_or_leaving_may_arrive_before_the_joining(harness, assignments):
    """Two processes share a stream: both are remembered for GONE seconds, and an older joining assigns nobody."""
    await assignments.close("AC1", "c1")
    assert (await add(assignments, "c1")).outcome is AssignmentOutcome.CLOSED
    await assignments.remove_customer("AC1", "c2", "p1", 100)
    assert (await add(assignments, "c2", at=99)).outcome is AssignmentOutcome.LEFT
    assert (await add(assignments, "c2", at=100)).outcome is AssignmentOutcome.ASSIGNED
    assert (await add(assignments, "c3", at=99)).outcome is AssignmentOutcome.ASSIGNED
    for key in (harness.keys.gone("AC1|c1"), harness.keys.gone("AC1|c2|p1")):
        assert GONE - 60 < await harness.redis.ttl(key) <= GONE


async def test_two_processes_never_exceed_a_capacity(harness, make_assignments):
    """With 200 conversations opened and closed concurrently nobody exceeds their capacity, and no key is left."""
    processes = [make_assignments(Agent("dana", "Dana", 3), Agent("eli", "Eli", 2)) for _ in range(2)]
    highest = Counter()

    connections = asyncio.Semaphore(50)

    async def live(number):
        async with connections:
            await add(processes[number % 2], f"c{number}")
            for agent, load in (await loads(harness)).items():
                highest[agent] = max(highest[agent], load)
            await processes[(number + 1) % 2].close("AC1", f"c{number}")

    await asyncio.gather(*(live(number) for number in range(200)))
    assert highest == {"dana": 3, "eli": 2}
    assert await loads(harness) == {}
    for kind in ("conversations", "waiting", "joining", "checked"):
        assert not await harness.redis.exists(harness.keys.roster(kind))


async def test_two_processes_assign_a_conversation_once(harness, make_assignments):
    """The same entry in two processes at once is one assignment."""
    processes = [make_assignments(), make_assignments()]
    results = await asyncio.gather(*(add(processes[number % 2], "c1") for number in range(20)))
    assert {one.agent.identity for one in results} == {"dana"}
    assert await loads(harness) == {"dana": 1}


async def test_a_pending_join_can_be_claimed_after_its_lease(assignments, clock):
    """One process at a time gets it, until the assigned person has joined."""
    await add(assignments, "c1")
    assert await assignments.claim_pending_joins(10) == []
    clock.now += LEASE * 1000
    (record,) = await assignments.claim_pending_joins(10)
    assert (record.account, record.conversation, record.customers) == ("AC1", "c1", {"p1": "SMS"})
    assert record.assigned_agent.identity == "dana"
    assert await assignments.claim_pending_joins(10) == []
    await assignments.mark_joined("AC1", "c1", "somebody else")
    clock.now += LEASE * 1000
    assert len(await assignments.claim_pending_joins(10)) == 1
    await assignments.mark_joined("AC1", "c1", "dana")
    clock.now += LEASE * 1000
    assert await assignments.claim_pending_joins(10) == []


async def test_the_join_of_a_conversation_that_waited_is_pending_at_once(assignments, clock):
    """No process is working on it yet, so it has no lease."""
    await assigned(assignments, "c1", "c2", "c3", "c4")
    await assignments.close("AC1", "c1")
    (record,) = await assignments.claim_pending_joins(10)
    assert (record.conversation, record.agent) == ("c4", "dana")


async def test_a_new_person_gets_waiting_conversations(make_assignments):
    """The capacity of a new roster is assigned without any entry."""
    few, many = make_assignments(ELI), make_assignments(ELI, DANA)
    await assigned(few, "c1", "c2", "c3")
    assert await few.assign_waiting() == 0
    assert await many.assign_waiting() == 2
    assert await assigned(few, "c2", "c3") == ["dana", "dana"]


async def test_a_removed_person_keeps_their_conversations(harness, make_assignments):
    """Their conversations stay assigned, with what joining needs, until they close; they get no new ones."""
    both, without = make_assignments(), make_assignments(DANA)
    await assigned(both, "c1", "c2")
    assert await assigned(without, "c2", "c3", "c4") == ["eli", "dana", None]
    assert (await add(without, "c2")).agent.name == "Eli"
    assert (await without.close("AC1", "c2")).agent == "eli"
    assert await loads(harness) == {"dana": 2}


async def test_unconfirmed_conversations_are_claimed_once(assignments, clock):
    """Those that were not confirmed for the given age are returned, the oldest first."""
    await add(assignments, "c1")
    clock.now += 1000
    await add(assignments, "c2")
    clock.now += 59_000
    assert [one.conversation for one in await assignments.claim_unconfirmed(10, 60)] == ["c1"]
    assert await assignments.claim_unconfirmed(10, 60) == []
    clock.now += 1000
    assert [one.conversation for one in await assignments.claim_unconfirmed(10, 60)] == ["c2"]
    clock.now += 100_000
    assert [one.conversation for one in await assignments.claim_unconfirmed(1, 60)] == ["c1"]
    assert [one.conversation for one in await assignments.claim_unconfirmed(1, 60)] == ["c2"]
    assert await assignments.claim_unconfirmed(1, 60) == []


async def test_accounts_are_apart(harness, assignments):
    """The same conversation id in another account is another conversation."""
    await assignments.add_customer("AC1", "c1", "p1", "SMS", 1)
    await assignments.add_customer("AC2", "c1", "p1", "SMS", 1)
    assert await loads(harness) == {"dana": 1, "eli": 1}
