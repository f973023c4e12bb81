"""The journal of a conversation: one line for each decision about who holds it, with what the decision rested on. Pure.

A line says what came in and what followed. If an agent was looked for, it has the need, the chosen agent, and the other
agents as they were, so that the decision can be explained, and made again with other files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict

from router.core.routing.choice import AgentState, Need, choose, objection
from router.core.routing.inputs import Changed, CloseFloor, Ended, Failed, Made, Requested

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.core.events import Cause
    from router.core.routing.inputs import Happening, Input
    from router.core.routing.team import Team
    from router.core.routing.transitions import Step

#: Agents that a line has: of more it has the number only.
MAX_AGENTS: Final = 20


class JournalAgent(BaseModel):
    """An agent as the desk knew them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    identity: str
    capacity: int
    skills: tuple[str, ...] = ()
    channels: tuple[str, ...] | None = None
    load: int = 0
    idle_since: int = 0
    present_until: int = 0
    is_away: bool = False
    free_at: int = 0
    is_enrolled: bool = False

    def state(self, team: Team | None = None) -> AgentState | None:
        """Return the agent's state, with the skills, channels and capacity of `team`; None if they are not in it."""
        skills, channels, capacity = self.skills, self.channels, self.capacity
        if team is not None:
            member = team.members.get(self.identity)
            if member is None:
                return None
            skills, channels, capacity = member.skills, member.channels, member.capacity
        return AgentState(
            self.identity,
            capacity,
            frozenset(skills),
            None if channels is None else frozenset(channels),
            load=self.load,
            idle_since=self.idle_since,
            present_until=self.present_until,
            is_away=self.is_away,
            free_at=self.free_at,
            is_enrolled=self.is_enrolled,
        )


class JournalNeed(BaseModel):
    """The needs of the conversation; `units` None: all of an agent's capacity."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    queue: str
    skills: tuple[str, ...] = ()
    channel: str = ""
    units: int | None = 1
    priority: int = 0
    since: int = 0
    agent: str | None = None
    last_agent: str | None = None
    excluded: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    is_automatic: bool = False

    def need(self) -> Need:
        """Return it as the rule of choice takes it."""
        return Need(
            frozenset(self.skills),
            self.channel,
            self.units,
            self.priority,
            self.since,
            self.agent,
            self.last_agent,
            frozenset(self.excluded),
            frozenset(self.missed),
            self.is_automatic,
        )


class JournalLine(BaseModel):
    """One decision at `at` (ms since 1970): `what` came in, which entries followed, or why it was `refused`.

    `what` is the event type of the cause: a command, one of OWN_EVENTS, or what Twilio reported. `by` is the id of the
    command, or the idempotency key of the event. `happened` has the types of the entries, with the word that matters.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: int
    what: str
    by: str = ""
    happened: tuple[str, ...] = ()
    refused: str | None = None
    epoch: int = 0
    target: str = ""
    agent: str | None = None
    chosen: str | None = None
    need: JournalNeed | None = None
    agents: tuple[JournalAgent, ...] = ()
    agents_left_out: int = 0

    def reasons(self, team: Team | None = None) -> tuple[str | None, dict[str, str]]:
        """Return the agent who would be chosen and the reasons against the others; with `team`, of its people."""
        if self.need is None:
            return None, {}
        states = {one.identity: one.state(team) for one in self.agents}
        known = tuple(state for state in states.values() if state is not None)
        if team is None:
            need = self.need.need()
            others = {one.identity: objection(need, one, self.at) or "ranks behind" for one in known}
            return self.chosen, {name: why for name, why in others.items() if name != self.chosen}
        choice = choose(self.need.need(), known, self.at)
        reasons = choice.reasons | {name: "not in the roster" for name, state in states.items() if state is None}
        behind = {one.identity: "ranks behind" for one in known if one.identity not in {*reasons, choice.agent}}
        return choice.agent, reasons | behind


def _name(happened: Happening) -> str:
    match happened:
        case Requested():
            return "handoff.requested"
        case Made():
            return "offer.made"
        case Ended():
            return f"offer.ended ({happened.how})"
        case Changed():
            return f"holder.changed ({happened.because})"
        case Failed():
            return f"handoff.failed ({happened.fallback})" if happened.fallback else "handoff.failed"


def write_line(step: Step, given: Input, cause: Cause, *, at: int | None = None, **looked_for: Any) -> str:
    """Return the line about the step of an input; `looked_for` is what show_looked_for returns.

    `at` is in ms since 1970; without it that of the cause.
    """
    holding = step.holding
    closed = ("conversation.closed",) if isinstance(given, CloseFloor) else ()
    line = JournalLine(
        at=cause.received_at // 1000 if at is None else at,
        what=cause.event_type,
        by=cause.idempotency_key,
        happened=(*map(_name, step.happened), *closed),
        refused=str(step.refused) if step.refused is not None else None,
        epoch=holding.epoch,
        target=str(holding.holder.target),
        agent=holding.holder.agent,
        **looked_for,
    )
    return line.model_dump_json(exclude_defaults=True)


def show_looked_for(need: Need, queue: str, chosen: str, agents: Iterable[AgentState]) -> dict[str, Any]:
    """Return the fields of a line about the choice of an agent; `agents` are as the desk has them right after it.

    The chosen one is shown with the room that they had before.
    """

    def load_before(one: AgentState) -> int:
        taken = one.capacity if need.units is None else need.units
        return max(0, one.load - taken) if one.identity == chosen else one.load

    shown = [
        JournalAgent(
            identity=one.identity,
            capacity=one.capacity,
            skills=tuple(sorted(one.skills)),
            channels=None if one.channels is None else tuple(sorted(one.channels)),
            load=load_before(one),
            idle_since=one.idle_since,
            present_until=one.present_until,
            is_away=one.is_away,
            free_at=one.free_at,
            is_enrolled=one.is_enrolled,
        )
        for one in agents
    ]
    return {
        "chosen": chosen,
        "need": JournalNeed(
            queue=queue,
            skills=tuple(sorted(need.skills)),
            channel=need.channel,
            units=need.units,
            priority=need.priority,
            since=need.since,
            agent=need.agent,
            last_agent=need.last_agent,
            excluded=tuple(sorted(need.excluded)),
            missed=tuple(sorted(need.missed)),
            is_automatic=need.is_automatic,
        ),
        "agents": tuple(shown[:MAX_AGENTS]),
        "agents_left_out": max(0, len(shown) - MAX_AGENTS),
    }


def read_line(text: str | bytes) -> JournalLine:
    """Return a line; raises ValidationError if it is none."""
    return JournalLine.model_validate_json(text)
