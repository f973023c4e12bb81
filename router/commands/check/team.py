"""`check` of people and queues: mistakes that stop the workers, and needs that nobody in the roster meets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.commands.check.redis import Finding
from router.core.addresses import mask
from router.core.errors import SettingsError
from router.core.policy import DAYS
from router.core.routing.queues import DEFAULT_QUEUE, Fallback
from router.core.routing.team import Team
from router.settings.team_file import ROSTER, load_team

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router.core.policy import Hours, Policy
    from router.core.routing.queues import Queue
    from router.core.routing.team import TeamMember
    from router.settings.model import Settings


def check_team(settings: Settings, policy: Policy | None) -> tuple[list[Finding], Team]:
    """Return the findings, and the team, empty if it has mistakes; `policy` None: it has mistakes."""
    try:
        team = load_team(settings.config_dir, needs_people=True)
    except SettingsError as error:
        roster = str(settings.config_dir / ROSTER)
        return [
            Finding("FAIL", "roster" if one.startswith(roster) else "routing", one) for one in error.problems
        ], Team()
    queues = ", ".join(sorted({DEFAULT_QUEUE, *team.queues}))
    text = f"{len(team.members)} people, queues: {queues}"
    warnings = [Finding("warn", "roster", one) for one in _unplaceable(team, policy)]
    return [*warnings, Finding("ok", "roster", text)], team


def _unplaceable(team: Team, policy: Policy | None) -> Iterator[str]:
    """Yield a warning for each rule and queue whose skills nobody has: it waits for relaxation or fallback."""
    asking = [(f"the rule '{rule.name}'", rule.asking) for rule in policy.rules] if policy else []
    asking += [("[default]", policy.asking)] if policy else []
    needs = {f"the queue '{name}'": queue.skills for name, queue in team.queues.items()}
    needs |= {what: frozenset(one.skills) | team.queue(one.queue).skills for what, one in asking if one.skills}
    for what, skills in needs.items():
        if skills and not team.has_skills(tuple(skills)):
            yield f"{what} needs {', '.join(sorted(skills))}, which nobody in the roster has"


def show_team(team: Team) -> dict[str, str]:
    """Return people and queues for the report, each in one line, without whole addresses."""
    shown = {f"agent {one.identity}": _show_member(one) for one in team.members.values()}
    shown |= {f"queue {name}": _show_queue(queue) for name, queue in team.queues.items()}
    units = ", ".join(f"{name} {'all' if value is None else value}" for name, value in team.units.items())
    holding = (
        f"hold_added_people {team.is_holder_foreign}".lower(),
        f"hold_added_ai_agents {team.is_ai_foreign}".lower(),
        f"after_added {team.after_foreign or Fallback.AI_AGENT}",
    )
    return shown | ({"people": "; ".join(filter(None, (units and f"units {units}", *holding)))} if team.members else {})


def _show_member(member: TeamMember) -> str:
    addresses = ", ".join(f"{channel} {mask(address)}" for channel, address in member.addresses.items())
    facts = (
        member.name,
        f"capacity {member.capacity}",
        f"skills {', '.join(member.skills)}" if member.skills else "",
        f"channels {', '.join(member.channels)}" if member.channels is not None else "",
        f"wrap_up {member.wrap_up:g} s" if member.wrap_up else "",
        f"addresses {addresses}" if addresses else "",
    )
    return "; ".join(filter(None, facts))


def _show_queue(queue: Queue) -> str:
    relax = ", ".join(f"{', '.join(sorted(one.drop)) or 'all'} after {one.after:g} s" for one in queue.relax)
    facts = (
        f"accept {queue.accept}",
        f"ring {queue.ring:g} s",
        f"patience {queue.patience:g} s",
        f"overflow {queue.overflow}" if queue.overflow else f"fallback {queue.fallback}",
        f"skills {', '.join(sorted(queue.skills))}" if queue.skills else "",
        f"relax {relax}" if relax else "",
        f"hours {', '.join(map(_show_hours, queue.hours))}" if queue.hours else "",
        f"{len(queue.holidays)} holidays" if queue.holidays else "",
        f"priority {queue.priority}" if queue.priority else "",
        "tells who waits" if queue.wait_message else "",
    )
    return "; ".join(filter(None, facts))


def _show_hours(hours: Hours) -> str:
    days = " ".join(DAYS[day] for day in sorted(hours.days))
    return f"{days} {hours.start:%H:%M}-{hours.end:%H:%M} {hours.time_zone}"
