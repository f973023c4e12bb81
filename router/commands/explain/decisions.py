"""`python -m router explain CONVERSATION|PARTICIPANT`: who holds a conversation and why, decision by decision.

While a request waits, also why nobody is asked now. With `--with FILE` also what another routing.toml or roster.toml
would have decided: the rule for its customers at this time of day, and the agent for each choice, of the agents as they
were then.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from router.commands.connected import connected
from router.core.addresses import from_key, mask
from router.core.errors import SettingsError
from router.core.policy import Facts
from router.operations.decisions import read_decisions
from router.operations.redaction import plain
from router.process.terminal import CommandFailedError, complain, show
from router.settings.policy_file import read_policy
from router.settings.team_file import read_team

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from router.core.ledger.ledger import Ledger
    from router.core.policy import Decision, Policy
    from router.core.routing.holding import Holding
    from router.core.routing.journal import JournalLine
    from router.core.routing.team import Team
    from router.operations.decisions import Decisions
    from router.operations.open_requests import WaitingRequest
    from router.settings.model import Settings

#: Exit statuses beside 2, wrong usage or settings.
FOUND: Final = 0
NOTHING: Final = 1
_FILES: Final = ("roster.toml", "routing.toml")
#: People whose reasons are shown as text.
_MOST_REASONS: Final = 20


class Other(NamedTuple):
    """Another file of the configuration: the policy and the people that there would be with it."""

    name: str
    policy: Policy
    team: Team
    has_people: bool


async def run_explain(arguments: argparse.Namespace) -> int:
    """Print the decisions; returns the exit status."""
    async with connected() as (redis, settings):
        other = _read_other(Path(arguments.other), settings) if arguments.other else None
        found = await read_decisions(redis, settings, arguments.id, on_page=_say_pages)
        if found is None:
            text = f"nothing is known of {plain(arguments.id)}"
            complain(f"{text}: its data may have expired, or be in another namespace")
            return NOTHING
        if arguments.json:
            show(json.dumps(_as_data(found, other)))
        else:
            for text in _as_text(found, other):
                show(text)
    return FOUND


def _say_pages(pages: int) -> None:
    if pages % 100 == 0:
        complain(f"… {pages} pages of conversations searched")


def _read_other(path: Path, settings: Settings) -> Other:
    """Read a routing.toml or a roster.toml, whichever the file is, beside the present one of the other kind."""
    try:
        text = path.read_text(encoding="utf-8")
        present = {
            name: (settings.config_dir / name).read_text(encoding="utf-8") for name in ("roster.toml", "routing.toml")
        }
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailedError(f"{error}") from error
    is_roster = any(line.strip().replace(" ", "") == "[[agent]]" for line in text.splitlines())
    present["roster.toml" if is_roster else "routing.toml"] = text
    try:
        team = read_team(present["roster.toml"], present["routing.toml"])
        return Other(path.name, read_policy(present["routing.toml"], str(path)), team, is_roster)
    except SettingsError as error:
        raise CommandFailedError(f"--with {path}: {'; '.join(error.problems)}") from error


def _decisions(ledger: Ledger, policy: Policy) -> dict[str, Decision]:
    """Return the present decision of a policy for each customer of a conversation, by the masked address."""
    found = {}
    for marker in ledger.markers().values():
        if not marker.is_announced or not marker.addresses:
            continue
        customer = from_key(marker.addresses[0])
        facts = Facts(
            source="",
            channel=customer.channel,
            participant_type=marker.type or "UNKNOWN",
            customer=customer,
            now=datetime.now(tz=UTC),
            recipient=ledger.recipient(customer.channel),
            configuration_id=ledger.fields.get("configuration_id"),
            account_id=ledger.account_id,
        )
        found[mask(customer.value)] = policy.decide(facts)
    return found


def _time(millis: int) -> str:
    return datetime.fromtimestamp(millis / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def _as_text(found: Decisions, other: Other | None) -> Iterator[str]:
    ledger, holding = found.ledger, found.holding
    status = ledger.fields.get("status", "status unknown")
    yield f"conversation {ledger.conversation_id} of {ledger.account_id}: {status}"
    yield f"  {_holder(ledger, holding)}"
    yield f"  the rule that decided first: {ledger.fields.get('reason', 'none')}"
    if found.waiting is not None:
        yield from _waiting_as_text(found.waiting)
    if other is not None:
        for address, decision in _decisions(ledger, other.policy).items():
            yield f"  with {other.name} now, for {address}: {decision.target or 'ignore'}, because of {decision.reason}"
    for line in found.journal:
        yield ""
        yield f"{_time(line.at)}  {line.what}{f' ({plain(line.by)})' if line.by else ''}"
        result = f"refused: {line.refused}" if line.refused else ", ".join(line.happened) or "no entry"
        yield f"  {result}; epoch {line.epoch}, held by {line.agent or line.target}"
        yield from _choice_as_text(line, other)


def _holder(ledger: Ledger, holding: Holding | None) -> str:
    if holding is None:
        return "nobody was announced in it"
    who = holding.holder.agent or holding.holder.target
    request, offer = holding.request, holding.offer
    asked = f", a request waits in the queue '{request.queue}' since {_time(request.since)}" if request else ""
    offered = f", {offer.agent} is asked until {_time(offer.expires_at)}" if offer else ""
    return f"held by {who} in epoch {ledger.epoch}{asked}{offered}"


def _waiting_as_text(waiting: WaitingRequest) -> Iterator[str]:
    need = waiting.need
    if need is None:
        yield f"  nobody is looked for now: the queue '{waiting.queue}' is closed, or its patience is over"
        return
    skills = f", skills {', '.join(sorted(need.skills))}" if need.skills else ""
    chosen = f"{waiting.chosen} is asked next" if waiting.chosen else "nobody can be asked now"
    yield f"  {chosen}: queue '{waiting.queue}', {need.channel or 'no channel'}{skills}, priority {need.priority}"
    for agent, why in list(waiting.reasons.items())[:_MOST_REASONS]:
        yield f"    not {agent}: {why}"
    if len(waiting.reasons) > _MOST_REASONS:
        yield f"    and {len(waiting.reasons) - _MOST_REASONS} others: see --json"


def _choice_as_text(line: JournalLine, other: Other | None) -> Iterator[str]:
    if line.need is None:
        return
    need = line.need
    skills = f", skills {', '.join(need.skills)}" if need.skills else ""
    wanted = f"queue '{need.queue}', {need.channel or 'no channel'}{skills}, priority {need.priority}"
    yield f"  {wanted}: {line.chosen} was chosen"
    for agent, why in line.reasons()[1].items():
        yield f"    not {agent}: {why}"
    if line.agents_left_out or not line.agents:
        yield "    the others are not noted: there were too many"
    if other is not None and other.has_people:
        chosen, reasons = line.reasons(other.team)
        yield f"  with {other.name}: {chosen or 'nobody'} would be chosen"
        yield from (f"    not {agent}: {why}" for agent, why in reasons.items())


def _as_data(found: Decisions, other: Other | None) -> dict[str, Any]:
    data = found.to_json()
    if other is None:
        return data
    if other.has_people:
        for line, shown in zip(found.journal, data["journal"], strict=True):
            if line.need is not None:
                chosen, reasons = line.reasons(other.team)
                shown["with"] = {"chosen": chosen, "others": reasons}
    decided = _decisions(found.ledger, other.policy)
    data["with"] = {address: {"target": one.target, "reason": one.reason} for address, one in decided.items()}
    return data
