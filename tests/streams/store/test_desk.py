"""The desk against a real server: it decides as core.routing.choice says, and repeats its answers."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.core.keys import Keys
from router.core.routing.choice import AgentState, Need, choose, objection
from router.core.routing.wishes import AgentCard, Wish
from router.core.values import replace
from router.streams.client.connection import connect
from router.streams.store.desk import FOR_EVER, LEASE, Desk
from tests.support.waiting import scaled

START = 1_800_000_000_000
LATE = START + 10_000_000
SKILLS = ("billing", "german")


@dataclass
class Clock:
    """A clock that the test sets, in ms."""

    now: int = START

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """The time of the desk."""
    return Clock()


@pytest.fixture
def desk(redis, clock):
    """An empty desk."""
    return Desk(redis, Keys(), clock=clock)


def card(identity, capacity=2, skills=(), channels=None, wrap_up=0):
    return AgentCard(identity, identity.title(), capacity, skills, channels, wrap_up)


def wait_for(since=START, **fields):
    return Wish(queue="default", need=Need(channel="SMS", since=since, **fields))


async def test_the_one_who_is_present_is_asked(desk):
    """With a name, and again for as long as the conversation does not answer."""
    await desk.arrive(card("dana"), LATE)
    for _ in range(2):
        found = await desk.settle("c1", 1, wait_for())
        assert (found.agent, found.name) == ("dana", "Dana")
    (agent,), waiting = await desk.look()
    assert (agent.load, waiting) == (1, {})


async def test_who_comes_gets_those_who_wait_longest(desk):
    """As far as there is room; the rest keep their places in line."""
    lines = [(await desk.settle(f"c{number}", 1, wait_for(START + number))).line for number in (3, 1, 2)]
    assert lines == [1, 1, 2]
    assert await desk.arrive(card("dana"), LATE) == 2
    assert sorted((await desk.round(10)).placed) == ["c1", "c2"]
    assert (await desk.settle("c3", 1, wait_for(START + 3))).line == 1
    assert (await desk.round(10)).placed == []


async def test_an_offer_that_nobody_made_is_somebody_elses_after_a_while(desk, clock):
    """The process that took it may have died."""
    await desk.settle("c1", 1, wait_for())
    await desk.arrive(card("dana"), LATE)
    assert (await desk.round(10)).placed == ["c1"]
    clock.now += LEASE
    assert (await desk.round(10)).placed == ["c1"]
    await desk.settle("c1", 2, Wish(asked="dana"))
    clock.now += LEASE
    assert (await desk.round(10)).placed == []


async def test_an_older_wish_changes_nothing(desk):
    """Two processes may settle one conversation in the wrong order."""
    await desk.arrive(card("dana"), LATE)
    await desk.settle("c1", 2, Wish(is_over=False))
    assert (await desk.settle("c1", 1, wait_for())).is_older
    (agent,), waiting = await desk.look()
    assert (agent.load, waiting) == (0, {})


async def test_a_transfer_takes_two_places_and_its_acceptance_one(desk):
    """The giver keeps the conversation until then, and rests afterwards."""
    await desk.arrive(card("dana", 1, wrap_up=5), LATE)
    await desk.settle("c1", 1, wait_for())
    await desk.settle("c1", 2, Wish(asked="dana"))
    await desk.settle("c1", 3, Wish(holder="dana"))
    await desk.arrive(card("eli", 1), LATE)
    found = await desk.settle("c1", 4, replace(wait_for(excluded=frozenset({"dana"})), holder="dana"))
    assert found.agent == "eli"
    await desk.settle("c1", 5, Wish(holder="dana", asked="eli"))
    assert {one.identity: one.load for one in (await desk.look())[0]} == {"dana": 1, "eli": 1}
    await desk.settle("c1", 6, Wish(holder="eli"))
    assert {one.identity: (one.load, one.free_at) for one in (await desk.look())[0]} == {
        "dana": (0, START + 5000),
        "eli": (1, 0),
    }


async def test_the_wrap_up_ends(desk, clock):
    """Then the next conversation comes."""
    await desk.arrive(card("dana", 1, wrap_up=5), LATE)
    await desk.settle("c1", 1, wait_for())
    await desk.settle("c1", 2, Wish(holder="dana"))
    await desk.settle("c1", 3, Wish(is_over=True))
    assert (await desk.settle("c2", 1, wait_for())).line == 1
    clock.now += 5000
    assert (await desk.round(10)).placed == ["c2"]


async def test_presence_lapses(desk, clock):
    """Until somebody has taken the conversations of one who is gone, they are reported again and again."""
    await desk.arrive(card("dana"), START + 1000)
    await desk.settle("c1", 1, wait_for())
    await desk.settle("c1", 2, Wish(holder="dana"))
    clock.now += 1000
    assert (await desk.settle("c2", 1, wait_for())).agent is None
    assert (await desk.round(10)).lapsed == {"dana": ["c1"]}
    assert (await desk.round(10)).lapsed == {}
    clock.now += LEASE
    assert (await desk.round(10)).lapsed == {"dana": ["c1"]}
    await desk.settle("c1", 3, wait_for())
    clock.now += LEASE
    assert (await desk.round(10)).lapsed == {}
    assert (await desk.look())[0] == ()


async def test_who_leaves_is_gone_at_once(desk):
    """A lapse without waiting for it."""
    await desk.arrive(card("dana"), LATE)
    await desk.settle("c1", 1, wait_for())
    await desk.leave("dana")
    assert (await desk.round(10)).lapsed == {"dana": ["c1"]}


async def test_a_place_that_is_lost(desk):
    """The offer of one who has no place is withdrawn by its conversation."""
    assert (await desk.settle("c1", 1, Wish(asked="dana"))).is_lost


async def test_who_is_enrolled_gets_what_is_assigned_without_asking(desk):
    """Until they tell their presence themselves, or leave the roster."""
    await desk.enroll([card("dana"), card("eli")])
    assert (await desk.settle("c1", 1, wait_for())).agent is None
    assert (await desk.settle("c2", 1, wait_for(is_automatic=True))).agent == "dana"
    await desk.arrive(card("dana"), LATE)
    assert (await desk.round(10)).placed == ["c1", "c2"]
    await desk.enroll([card("dana")])
    states = {one.identity: (one.is_enrolled, one.is_away) for one in (await desk.look())[0]}
    assert states == {"dana": (False, False), "eli": (True, True)}


async def test_an_older_wish_after_the_end_changes_nothing(desk, clock):
    """A process that committed an acceptance may settle it after another has settled the closing: no place is lost."""
    await desk.arrive(card("dana"), LATE)
    await desk.settle("c1", 1, wait_for())
    await desk.settle("c1", 3, Wish(is_over=True))
    for wish in (Wish(holder="dana"), Wish(asked="dana"), wait_for()):
        assert (await desk.settle("c1", 2, wish)).is_older
    (agent,), waiting = await desk.look()
    assert (agent.load, waiting) == (0, {})


async def test_the_end_of_a_conversation_is_remembered_for_an_hour(desk, redis, clock):
    """Long enough for a process that was slow, and not for ever."""
    await desk.settle("c1", 1, Wish(is_over=True))
    clock.now += 3_600_000
    await desk.round(10)
    assert await redis.keys("*:desk:*") == []


async def test_a_holder_whom_the_desk_does_not_know_has_time_to_come_back(desk, clock):
    """The desk may have lost its data: the place counts, and the conversation is not theirs for ever."""
    for identity in ("dana", "eli"):
        await desk.settle(f"of-{identity}", 1, Wish(holder=identity))
    await desk.arrive(card("dana"), LATE)
    assert {one.identity: one.load for one in (await desk.look())[0]} == {"dana": 1, "eli": 1}
    assert (await desk.round(10)).lapsed == {}
    clock.now += 60_000
    assert (await desk.round(10)).lapsed == {"eli": ["of-eli"]}


async def test_who_left_is_not_enrolled_again(desk):
    """They have told their presence, like those who came."""
    await desk.enroll([card("dana")])
    await desk.leave("dana")
    await desk.round(10)
    await desk.enroll([card("dana")])
    assert (await desk.settle("c1", 1, wait_for(is_automatic=True))).agent is None


async def test_the_time_of_the_next_round(desk, clock):
    """The end of a presence, of a wrap-up, of an offer that is not made."""
    assert (await desk.round(10)).next_at is None
    await desk.arrive(card("dana", 1, wrap_up=5), LATE)
    assert (await desk.round(10)).next_at == LATE
    await desk.settle("c1", 1, wait_for())
    await desk.settle("c1", 2, Wish(holder="dana"))
    await desk.settle("c1", 3, Wish(is_over=True))
    assert (await desk.round(10)).next_at == START + 5000
    await desk.settle("c2", 1, wait_for())
    await desk.arrive(card("eli"), LATE)
    due = await desk.round(10)
    assert (due.placed, due.next_at) == (["c2"], START + LEASE)


def next_for(agent: AgentState, waiting: dict[str, Need], now: int) -> str | None:
    """Return the name of the waiting conversation that a free agent gets first, None if there is none."""
    fitting = [(-need.priority, need.since, name) for name, need in waiting.items() if not objection(need, agent, now)]
    return min(fitting)[2] if fitting else None


@dataclass
class Model:
    """The desk as the rule says it, without indexes."""

    agents: dict = field(default_factory=dict)
    needs: dict = field(default_factory=dict)
    asked: dict = field(default_factory=dict)
    seen: set = field(default_factory=set)

    def enroll(self, identity, now):
        """Note somebody who tells no presence, unless they have told it before."""
        if identity in self.seen:
            return
        known = self.agents.get(identity, AgentState(identity, 1, idle_since=now))
        self.agents[identity] = replace(
            known, capacity=1, is_enrolled=True, is_away=False, present_until=now + FOR_EVER
        )
        self.serve(identity, now)

    def turn_away(self, listed):
        """Give nothing more to those who are enrolled no longer."""
        for identity, agent in self.agents.items():
            if agent.is_enrolled and identity not in listed:
                self.agents[identity] = replace(agent, is_away=True)

    def settle(self, name, need, now):
        """Return the agent for a need that is new."""
        chosen = choose(need, tuple(self.agents.values()), now).agent
        if chosen is None:
            self.needs[name] = need
        else:
            self.occupy(name, need, chosen)
        return chosen

    def occupy(self, name, need, identity):
        agent = self.agents[identity]
        units = agent.capacity if need.units is None else need.units
        self.agents[identity] = replace(agent, load=agent.load + units)
        self.asked[name] = (identity, units)

    def serve(self, identity, now):
        """Give an agent what waits."""
        while (name := next_for(self.agents[identity], self.needs, now)) is not None:
            self.occupy(name, self.needs.pop(name), identity)

    def free(self, name, now):
        """End what a conversation wants."""
        self.needs.pop(name, None)
        if name in self.asked:
            identity, units = self.asked.pop(name)
            agent = self.agents[identity]
            self.agents[identity] = replace(agent, load=agent.load - units, idle_since=now)
            self.serve(identity, now)


IDENTITIES = st.sampled_from(["dana", "eli", "fay", "gus"])
SETS = st.frozensets(st.sampled_from(SKILLS))
ARRIVALS = st.tuples(
    st.just("arrive"), IDENTITIES, st.integers(1, 3), SETS, st.sampled_from([None, ("SMS",), ("VOICE",)]), st.booleans()
)
NEEDS = st.builds(
    Need,
    skills=SETS,
    channel=st.sampled_from(["SMS", "VOICE"]),
    units=st.sampled_from([1, 2, None]),
    priority=st.integers(0, 2),
    agent=st.none() | st.none() | IDENTITIES,
    last_agent=st.none() | IDENTITIES,
    excluded=st.frozensets(IDENTITIES, max_size=2),
    missed=st.frozensets(IDENTITIES, max_size=2),
    is_automatic=st.booleans(),
)
ENROLLED = st.tuples(st.just("enroll"), st.lists(IDENTITIES, unique=True, max_size=3))
STEPS = st.lists(
    ARRIVALS | ENROLLED | st.tuples(st.just("need"), NEEDS) | st.tuples(st.just("free"), st.integers(0, 20)),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_decides_as_the_rule_says(redis_url, steps):
    """The same agent for every conversation, and the same line, whatever comes in which order."""
    asyncio.run(compare(redis_url, steps))


async def compare(url, steps):
    redis, clock, model = connect(url, timeout=scaled(20)), Clock(), Model()
    try:
        await redis.flushall()
        desk = Desk(redis, Keys(), clock=clock)
        names = []
        for step in steps:
            clock.now += 1000
            match step:
                case ("arrive", identity, capacity, skills, channels, is_away):
                    known = model.agents.get(identity, AgentState(identity, capacity, idle_since=clock.now))
                    model.agents[identity] = replace(
                        known,
                        capacity=capacity,
                        skills=skills,
                        channels=None if channels is None else frozenset(channels),
                        present_until=LATE,
                        is_away=is_away,
                        is_enrolled=False,
                    )
                    model.seen.add(identity)
                    await desk.arrive(card(identity, capacity, tuple(skills), channels), LATE, is_away=is_away)
                    model.serve(identity, clock.now)
                case ("enroll", listed):
                    await desk.enroll([card(identity, 1) for identity in listed])
                    for identity in listed:
                        model.enroll(identity, clock.now)
                    model.turn_away(listed)
                case ("need", need):
                    name, waiting = f"c{len(names):02}", replace(need, since=clock.now)
                    names.append(name)
                    found = await desk.settle(name, 1, Wish(queue="default", need=waiting, units=need.units))
                    assert found.agent == model.settle(name, waiting, clock.now)
                case ("free", number) if names:
                    name = names[number % len(names)]
                    await desk.settle(name, 2, Wish(is_over=False))
                    model.free(name, clock.now)
            agents, waiting = await desk.look()
            assert set(waiting) == set(model.needs)
            assert {one.identity: one for one in agents} == model.agents
    finally:
        await redis.aclose()
