"""The roster: the people who take participants, from config/roster.toml, where each key is explained.

It is read strictly and as a whole: unknown keys and invalid people stop the start, all of them listed.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router.core.addresses import Address, Channel
from router.core.errors import SettingsError
from router.settings.files import describe_unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MAX_CAPACITY: Final = 10_000


@dataclass(frozen=True, slots=True)
class Agent:
    """One person: unique identity, display name, number of concurrent conversations, and addresses by channel."""

    identity: str
    name: str
    capacity: int
    addresses: Mapping[str, str] = field(default_factory=dict)


class AssignedAgent(BaseModel):
    """The data with which a person joins; stored with the assignment, so that it survives a change of the roster."""

    model_config = ConfigDict(frozen=True)

    identity: str
    name: str
    addresses: dict[str, str] = {}

    @classmethod
    def of(cls, agent: Agent) -> AssignedAgent:
        """Return the data with which this person joins."""
        return cls(identity=agent.identity, name=agent.name, addresses=dict(agent.addresses))

    def addresses_on(self, channel: str) -> tuple[Address, ...]:
        """Return the addresses to join with for a customer on `channel`: theirs on the channel, then the identity."""
        identity = Address(Channel.CHAT, self.identity)
        return (Address(channel, self.addresses[channel]), identity) if channel in self.addresses else (identity,)


@dataclass(frozen=True, slots=True)
class Roster:
    """The people; their order decides between equally busy ones."""

    agents: tuple[Agent, ...]


class _AgentText(BaseModel):
    """One [[agent]] of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    identity: str = Field(min_length=1, max_length=120, pattern=r"^\S+$")
    name: str = Field(min_length=1)
    capacity: int = Field(ge=1, le=_MAX_CAPACITY)
    addresses: dict[Annotated[Channel, Field(strict=False)], str] = {}


_MESSAGES: Final = {
    "extra_forbidden": "no such key",
    "missing": "is missing",
    "greater_than_equal": "must be 1 or more",
    "enum": f"is not a channel ({', '.join(Channel)})",
}


def read_roster(text: str, file: str) -> Roster:
    """Return the roster in `text`; raises SettingsError with all problems, each beginning with `file`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"{file}: {error}"]) from error
    problems = [f"unknown key '{key}'" for key in sorted(document.keys() - {"agent"})]
    rows = document.get("agent", [])
    if not isinstance(rows, list) or not rows:
        problems.append("no [[agent]]: nobody could take a participant")
        rows = []
    agents = [agent for number, row in enumerate(rows, 1) if (agent := _read_agent(number, row, problems))]
    identities = Counter(row.get("identity") for row in rows if isinstance(row, dict) and "identity" in row)
    problems += [f"identity '{identity}' is used {times} times" for identity, times in identities.items() if times > 1]
    if problems:
        raise SettingsError([f"{file}: {problem}" for problem in problems])
    return Roster(tuple(agents))


def load_roster(config_dir: Path) -> Roster:
    """Return the roster of `config_dir`; raises SettingsError if it cannot be read."""
    path = config_dir / "roster.toml"
    try:
        return read_roster(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([describe_unreadable(path, error)]) from error


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
