"""Explains why nobody is asked at this moment: the reason for each person of the roster.

The journal has decisions only; while nobody can be asked, there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from router.core.routing.choice import AgentState, choose
from router.core.routing.wishes import wish_of
from router.settings.team_file import load_team
from router.streams.client.clock import RedisClock
from router.streams.store.desk import Desk

if TYPE_CHECKING:
    from router.core.routing.choice import Need
    from router.core.routing.holding import Holding
    from router.core.routing.team import Team, TeamMember
    from router.settings.model import Settings
    from router.streams.client.connection import Redis


class WaitingRequest(NamedTuple):
    """A request without an offer. `need` None: nobody is looked for, as the queue is closed or its patience is over.

    `chosen`: who is asked next, None if nobody can be; `reasons`: why the others are not, by identity.
    """

    queue: str
    need: Need | None
    chosen: str | None
    reasons: dict[str, str]


async def read_waiting(redis: Redis, settings: Settings, holding: Holding | None) -> WaitingRequest | None:
    """Return the reasons for which a request waits, None if none waits.

    Raises SettingsError if roster.toml or routing.toml has mistakes.
    """
    if holding is None or holding.request is None or holding.offer is not None or holding.is_closed:
        return None
    clock = RedisClock(settings.keys.inbound(0))
    await clock.measure(redis)
    team, now = load_team(settings.config_dir), clock.milliseconds()
    agents, _ = await Desk(redis, settings.keys, clock=clock.milliseconds).look()
    return judge_waiting(holding, team, agents, now)


def judge_waiting(holding: Holding, team: Team, agents: tuple[AgentState, ...], now: int) -> WaitingRequest:
    """Return the reasons for which a request waits at `now` (ms); `agents` are those whom the desk knows."""
    wish = wish_of(holding, team, now)
    if wish.need is None:
        return WaitingRequest(wish.queue, None, None, {})
    at_desk = {one.identity: one for one in agents}
    known = tuple(at_desk.get(name) or _absent(member) for name, member in team.members.items())
    choice = choose(wish.need, known, now)
    reasons = choice.reasons | {name: "not in the roster" for name in at_desk if name not in team.members}
    behind = {one.identity: "ranks behind" for one in known if one.identity not in {*reasons, choice.agent}}
    return WaitingRequest(wish.queue, wish.need, choice.agent, reasons | behind)


def _absent(member: TeamMember) -> AgentState:
    return AgentState(member.identity, member.capacity, frozenset(member.skills))
