"""The people and their queues as they are now: who is present with which conversations, and who waits how long."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from router.core.routing.choice import AgentState
from router.core.routing.queues import DEFAULT_QUEUE
from router.core.timestamps import to_text
from router.settings.team_file import load_team
from router.streams.store.desk import Desk, DeskAgent

if TYPE_CHECKING:
    from router.core.routing.team import Team
    from router.settings.model import Settings
    from router.streams.client.connection import Redis
    from router.streams.store.desk import DeskNeed


class Presence(StrEnum):
    """Whether a person can be asked."""

    AVAILABLE = "available"
    AWAY = "away"
    WRAP_UP = "wrap-up"  # present, and busy with what is left of the last conversation
    ASSIGNED_ONLY = "assigned-only"  # tells no presence; gets what queues assign without asking
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class AgentReport:
    """One person. `load` of `capacity` units are taken by `conversations` (held, or asked about).

    `until` (µs): when presence lapses, or the wrap-up ends. `is_listed`: in the roster.
    """

    identity: str
    name: str
    presence: Presence
    until: int | None
    load: int
    capacity: int
    skills: tuple[str, ...]
    channels: tuple[str, ...] | None
    conversations: tuple[str, ...]
    is_listed: bool

    def to_json(self) -> dict[str, Any]:
        """Return the person for programs."""
        return {
            "identity": self.identity,
            "name": self.name,
            "presence": self.presence,
            "until": None if self.until is None else to_text(self.until),
            "load": self.load,
            "capacity": self.capacity,
            "skills": list(self.skills),
            "channels": None if self.channels is None else list(self.channels),
            "conversations": list(self.conversations),
            "is_listed": self.is_listed,
        }


@dataclass(frozen=True, slots=True)
class QueueReport:
    """One queue. `oldest` is the time (µs) since when the longest waiting conversation waits, None: none does.

    `available` people have its skills and could be asked now, if they have room.
    """

    name: str
    is_open: bool
    waiting: int
    oldest: int | None
    available: int
    skills: tuple[str, ...]
    conversations: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the queue for programs."""
        return {
            "name": self.name,
            "is_open": self.is_open,
            "waiting": self.waiting,
            "oldest": None if self.oldest is None else to_text(self.oldest),
            "available": self.available,
            "skills": list(self.skills),
            "conversations": list(self.conversations),
        }


@dataclass(frozen=True, slots=True)
class TeamReport:
    """All people and all queues."""

    agents: tuple[AgentReport, ...]
    queues: tuple[QueueReport, ...]

    def to_json(self) -> dict[str, Any]:
        """Return both lists for programs."""
        return {
            "agents": [agent.to_json() for agent in self.agents],
            "queues": [queue.to_json() for queue in self.queues],
        }


async def read_team(redis: Redis, settings: Settings, *, now: int) -> TeamReport:
    """Return the people and queues at `now` (µs, the time of Redis); raises SettingsError for a wrong roster."""
    agents, needs = await Desk(redis, settings.keys, clock=lambda: now // 1000).survey()
    return report_team(load_team(settings.config_dir), agents, needs, now)


def report_team(team: Team, agents: list[DeskAgent], needs: list[DeskNeed], now: int) -> TeamReport:
    """Return the report of a team; people whom the desk does not know are offline."""
    known = {agent.state.identity: agent for agent in agents}
    absent = [
        DeskAgent(AgentState(one.identity, one.capacity, frozenset(one.skills)), one.name, ())
        for one in team.members.values()
        if one.identity not in known
    ]
    reports = [_report(team, agent, now) for agent in (*agents, *absent)]
    names = dict.fromkeys([DEFAULT_QUEUE, *team.queues, *sorted(need.queue for need in needs)])
    return TeamReport(
        tuple(sorted(reports, key=lambda one: (one.presence == Presence.OFFLINE, one.identity))),
        tuple(_queue(team, name, [one for one in needs if one.queue == name], reports, now) for name in names),
    )


def _report(team: Team, agent: DeskAgent, now: int) -> AgentReport:
    state = agent.state
    presence, until = presence_of(state, now // 1000)
    return AgentReport(
        state.identity,
        agent.name,
        presence,
        None if until is None else until * 1000,
        load=state.load,
        capacity=state.capacity,
        skills=tuple(sorted(state.skills)),
        channels=None if state.channels is None else tuple(sorted(state.channels)),
        conversations=tuple(sorted(agent.conversations)),
        is_listed=state.identity in team.members,
    )


def presence_of(state: AgentState, now: int) -> tuple[Presence, int | None]:
    """Return whether a person can be asked at `now` (ms), and until when that holds."""
    if state.present_until <= now:
        return Presence.OFFLINE, None
    if state.is_enrolled:
        return Presence.ASSIGNED_ONLY, None
    if state.is_away:
        return Presence.AWAY, state.present_until
    if state.free_at > now:
        return Presence.WRAP_UP, state.free_at
    return Presence.AVAILABLE, state.present_until


def _queue(team: Team, name: str, needs: list[DeskNeed], agents: list[AgentReport], now: int) -> QueueReport:
    queue = team.queue(name)
    able = [one for one in agents if one.presence == Presence.AVAILABLE and queue.skills <= set(one.skills)]
    return QueueReport(
        name,
        is_open=queue.is_open(datetime.fromtimestamp(now / 1_000_000, tz=UTC)),
        waiting=len(needs),
        oldest=min((one.since * 1000 for one in needs), default=None),
        available=len(able),
        skills=tuple(sorted(queue.skills)),
        conversations=tuple(one.conversation for one in sorted(needs, key=lambda one: (-one.priority, one.since))),
    )
