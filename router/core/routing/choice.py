"""The choice of an agent for a waiting conversation, and of a conversation for a free agent. Pure and total.

This is the rule; scripts/desk.lua follows it with indexes, so that its cost does not grow with the number of agents and
of waiting conversations. A test compares both. `choose` also says why others were not eligible, for `explain`.

Order of agents: those who did not miss an offer of this request, then the one who had this customer last, then the
least loaded, then the one idle longest, then by identity. Order of conversations: by priority, then by age.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from router.core.values import Value


class AgentState(Value):
    """An agent as the desk knows them. Times in ms since 1970, `load` and `capacity` in units.

    `channels` None: all. `present_until`: when presence lapses. `free_at`: the end of the wrap-up. `is_enrolled`: one
    who tells no presence, and gets only what is assigned without asking.
    """

    identity: str
    capacity: int
    skills: frozenset[str] = frozenset()
    channels: frozenset[str] | None = None
    load: int = 0
    idle_since: int = 0
    present_until: int = 0
    is_away: bool = False
    free_at: int = 0
    is_enrolled: bool = False


class Need(Value):
    """The needs of a waiting conversation. `units`: None for all of an agent's capacity.

    `is_automatic`: it is assigned without asking.
    """

    skills: frozenset[str] = frozenset()
    channel: str = ""
    units: int | None = 1
    priority: int = 0
    since: int = 0
    agent: str | None = None
    last_agent: str | None = None
    excluded: frozenset[str] = frozenset()
    missed: frozenset[str] = frozenset()
    is_automatic: bool = False


@dataclass(frozen=True, slots=True)
class AgentChoice:
    """The chosen agent, None if nobody is eligible; `reasons` why each of the others was not."""

    agent: str | None
    reasons: dict[str, str] = field(default_factory=dict)


def objection(need: Need, agent: AgentState, now: int) -> str | None:
    """Return the reason not to ask an agent now, None if there is none."""
    units = agent.capacity if need.units is None else need.units
    missing = ", ".join(sorted(need.skills - agent.skills))
    objections = (
        (need.agent not in {None, agent.identity}, f"only {need.agent} is asked"),
        (agent.identity in need.excluded, "declined, or has the conversation"),
        (agent.present_until <= now, "not present"),
        (agent.is_enrolled and not need.is_automatic, "tells no presence, and this queue asks"),
        (agent.is_away, "away"),
        (agent.free_at > now, "in wrap-up"),
        (bool(missing), f"lacks {missing}"),
        (agent.channels is not None and need.channel not in agent.channels, f"does not take {need.channel}"),
        (agent.load + units > agent.capacity, f"busy ({agent.load} of {agent.capacity})"),
    )
    return next((why for holds, why in objections if holds), None)


def choose(need: Need, agents: tuple[AgentState, ...], now: int) -> AgentChoice:
    """Return the agent to be asked first."""
    reasons = {one.identity: why for one in agents if (why := objection(need, one, now)) is not None}
    eligible = [one for one in agents if one.identity not in reasons]

    def rank(one: AgentState) -> tuple[bool, bool, int, int, str]:
        is_last = one.identity == need.last_agent
        share = one.load * 1000 // one.capacity
        return (one.identity in need.missed, not is_last, share, one.idle_since, one.identity)

    return AgentChoice(min(eligible, key=rank).identity if eligible else None, reasons)
