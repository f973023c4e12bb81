"""The roster: the people who take participants, from config/roster.toml, which says what each key means.

Read strictly and as a whole: misspelt keys and people who cannot be meant stop the start, all of them listed.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router.core.addresses import Address, Channel
from router.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Agent:
    """One person: unique identity, display name, how many conversations at once, and an address per channel."""

    identity: str
    name: str
    capacity: int
    addresses: Mapping[str, str] = field(default_factory=dict)


class Card(BaseModel):
    """What joining somebody needs; kept with the assignment, so that it outlives their place on the roster."""

    model_config = ConfigDict(frozen=True)

    identity: str
    name: str
    addresses: dict[str, str] = {}

    def seats(self, channel: str) -> tuple[Address, ...]:
        """Return where to sit for a customer on `channel`, the best first: their address there, else their identity."""
        identity = Address(Channel.CHAT, self.identity)
        return (Address(channel, self.addresses[channel]), identity) if channel in self.addresses else (identity,)


def card_of(agent: Agent) -> Card:
    """Return what joining this person needs."""
    return Card(identity=agent.identity, name=agent.name, addresses=dict(agent.addresses))


@dataclass(frozen=True, slots=True)
class Roster:
    """The people in their order, which decides between equally busy ones."""

    agents: tuple[Agent, ...]


class _AgentText(BaseModel):
    """One [[agent]] as it is written."""

    model_config = ConfigDict(extra="forbid", strict=True)

    identity: str = Field(min_length=1, max_length=120, pattern=r"^\S+$")
    name: str = Field(min_length=1)
    capacity: int = Field(ge=1, le=_MOST)
    addresses: dict[Annotated[Channel, Field(strict=False)], str] = {}


_MESSAGES: Final = {
    "extra_forbidden": "no such key",
    "missing": "is missing",
    "greater_than_equal": "must be 1 or more",
    "enum": f"is no channel (there are {', '.join(Channel)})",
}


def read_roster(text: str, file: str) -> Roster:
    """Return the roster in `text`; raises SettingsError with every problem, each beginning with `file`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"{file}: {error}"]) from error
    problems = [f"unknown key '{key}'" for key in sorted(document.keys() - {"agent"})]
    rows = document.get("agent", [])
    if not isinstance(rows, list) or not rows:
        problems.append("there is no [[agent]]: nobody could take a participant")
        rows = []
    agents = [agent for number, row in enumerate(rows, 1) if (agent := _read_agent(number, row, problems))]
    identities = Counter(row.get("identity") for row in rows if isinstance(row, dict) and "identity" in row)
    problems += [f"identity '{identity}' is there {times} times" for identity, times in identities.items() if times > 1]
    if problems:
        raise SettingsError([f"{file}: {problem}" for problem in problems])
    return Roster(tuple(agents))


def load_roster(config_dir: Path) -> Roster:
    """Return the roster of `config_dir`; raises SettingsError if it cannot be read."""
    path = config_dir / "roster.toml"
    try:
        return read_roster(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path}: {error}"]) from error


def _read_agent(number: int, row: Any, problems: list[str]) -> Agent | None:
    try:
        given = _AgentText.model_validate(row)
    except ValidationError as error:
        for one in error.errors(include_url=False):
            where = ".".join(str(part) for part in one["loc"] if part != "[key]")
            problems.append(f"agent {number}: {where or 'it'}: {_MESSAGES.get(one['type'], one['msg'])}")
        return None
    blank = [str(channel) for channel, value in given.addresses.items() if not value.strip()]
    problems += [f"agent {number}: addresses.{channel}: is empty" for channel in blank]
    addresses = {str(channel): value for channel, value in given.addresses.items()}
    return Agent(given.identity, given.name, given.capacity, addresses)
