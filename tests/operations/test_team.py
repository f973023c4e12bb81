"""People and queues as they are now."""

from __future__ import annotations

import pytest

from router.core.routing.choice import AgentState, Need
from router.core.routing.queues import Queue
from router.core.routing.team import Team, TeamMember
from router.core.routing.wishes import AgentCard, Wish
from router.operations.team import Presence, read_team, report_team
from router.streams.store.desk import Desk, DeskAgent, DeskNeed

NOW = 1_800_000_000_000_000
MS = NOW // 1000
LATER = MS + 60_000


@pytest.mark.parametrize(
    ("state", "presence", "until"),
    [
        ({"present_until": LATER}, Presence.AVAILABLE, LATER),
        ({"present_until": MS}, Presence.OFFLINE, None),
        ({"present_until": LATER, "is_away": True}, Presence.AWAY, LATER),
        ({"present_until": LATER, "free_at": MS + 5}, Presence.WRAP_UP, MS + 5),
        ({"present_until": LATER, "is_enrolled": True}, Presence.ASSIGNED_ONLY, None),
    ],
    ids=lambda value: str(value) if isinstance(value, Presence) else "",
)
def test_presence(state, presence, until):
    """Each kind says until when it holds."""
    agents = [DeskAgent(AgentState("dana", 2, **state), "Dana", ("c1",))]
    (agent,) = report_team(Team(), agents, [], NOW).agents
    assert (agent.presence, agent.until) == (presence, None if until is None else until * 1000)
    assert (agent.name, agent.conversations, agent.is_listed) == ("Dana", ("c1",), False)


def test_people_of_the_roster_whom_the_desk_does_not_know_are_offline():
    """They come after those who are there."""
    team = Team(members={"ana": TeamMember("ana", "Ana", 3, ("billing",)), "dana": TeamMember("dana", "Dana", 1)})
    agents = [DeskAgent(AgentState("dana", 1, present_until=LATER), "Dana", ())]
    report = report_team(team, agents, [], NOW)
    assert [(one.identity, one.presence, one.capacity) for one in report.agents] == [
        ("dana", Presence.AVAILABLE, 1),
        ("ana", Presence.OFFLINE, 3),
    ]
    assert report.to_json()["agents"][1]["until"] is None


def test_queues_are_listed_with_who_waits():
    """In the order in which they are served; a queue that was removed from the file while somebody waits is listed."""
    needs = [
        DeskNeed("c1", "billing", MS - 1000, 0, ()),
        DeskNeed("c2", "billing", MS - 5000, 0, ()),
        DeskNeed("c3", "billing", MS, 9, ()),
        DeskNeed("c4", "gone", MS, 0, ()),
    ]
    team = Team(queues={"billing": Queue("billing", skills=frozenset({"billing"}))})
    agents = [
        DeskAgent(AgentState("dana", 1, frozenset({"billing"}), present_until=LATER), "Dana", ()),
        DeskAgent(AgentState("eli", 1, present_until=LATER), "Eli", ()),
    ]
    default, billing, gone = report_team(team, agents, needs, NOW).queues
    assert (default.name, default.waiting, default.oldest, default.available) == ("default", 0, None, 2)
    assert billing.conversations == ("c3", "c2", "c1")
    assert (billing.waiting, billing.oldest, billing.available) == (3, (MS - 5000) * 1000, 1)
    assert (gone.name, gone.waiting) == ("gone", 1)


@pytest.mark.real
async def test_the_desk_is_read(redis, settings):
    """A person with a conversation, and one that waits."""
    desk = Desk(redis, settings.keys, clock=lambda: MS)
    await desk.arrive(AgentCard("dana", "Dana", 1, ("billing",), None, 0), LATER)
    await desk.settle("c1", 1, Wish(queue="default", need=Need(channel="SMS", since=MS)))
    await desk.settle("c2", 1, Wish(queue="default", need=Need(channel="SMS", since=MS, skills=frozenset({"x"}))))
    report = await read_team(redis, settings, now=NOW)
    dana = next(one for one in report.agents if one.identity == "dana")
    assert (dana.presence, dana.load, dana.conversations) == (Presence.AVAILABLE, 1, ("c1",))
    assert [queue.conversations for queue in report.queues if queue.waiting] == [("c2",)]
