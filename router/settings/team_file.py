"""Reads the people in roster.toml, and the queues and what people take in routing.toml, into a Team.

Both files explain their keys. They are read strictly and as a whole: unknown keys, queues that are named and missing,
and queues that overflow into each other stop the start, all of them listed.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from router.core.addresses import Channel
from router.core.errors import SettingsError
from router.core.policy import ALL_DAYS, DAYS, MAX_PRIORITY, Hours
from router.core.routing.commands import MAX_TEXT
from router.core.routing.queues import DEFAULT_QUEUE, AcceptMode, Fallback, Queue, Relaxation, find_circle
from router.core.routing.team import Team, TeamMember
from router.settings.toml_lines import parse_toml

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_CAPACITY: Final = 10_000
#: Seconds: the longest time that a queue or a person may be given.
_MAX_SECONDS: Final = 30 * 86_400.0
_NAME: Final = r"^\S+$"

Identity = Annotated[str, Field(min_length=1, max_length=120, pattern=_NAME)]
Seconds = Annotated[float, Field(ge=0, le=_MAX_SECONDS, strict=False)]
OneOrMore = Annotated[tuple[Identity, ...], Field(strict=False)]
ChannelName = Annotated[Channel, Field(strict=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _AgentTable(_Table):
    identity: Identity
    name: Annotated[str, Field(min_length=1)]
    capacity: Annotated[int, Field(ge=1, le=_MAX_CAPACITY)]
    skills: OneOrMore = ()
    channels: Annotated[tuple[ChannelName, ...], Field(strict=False, min_length=1)] | None = None
    addresses: dict[ChannelName, Annotated[str, Field(min_length=1, pattern=r"\S")]] = {}
    wrap_up: Seconds = 0.0


class _RelaxTable(_Table):
    after: Seconds
    drop: OneOrMore = ()


def _clock(value: Any) -> Any:
    if isinstance(value, time):
        return value
    try:
        return time.fromisoformat(value)
    except (ValueError, TypeError):
        raise ValueError("is not a time such as '09:00'") from None


def _holiday(value: Any) -> Any:
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value)
    except (ValueError, TypeError):
        raise ValueError("is not a date such as '2026-12-25'") from None


def _zone(value: Any) -> Any:
    try:
        return ZoneInfo(value).key
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise ValueError("is not a zone such as 'Europe/Berlin' or 'UTC'") from None


Clock = Annotated[time, BeforeValidator(_clock)]


class _HoursTable(_Table):
    days: Annotated[tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...], Field(strict=False)] = DAYS
    from_: Clock = Field(default=time(0, 0), alias="from")
    to: Clock = time(0, 0)
    time_zone: Annotated[str, BeforeValidator(_zone)]

    def read(self) -> Hours:
        days = frozenset(map(DAYS.index, self.days)) if self.days else ALL_DAYS
        return Hours(self.time_zone, days, self.from_, self.to)


class _QueueTable(_Table):
    name: Identity
    skills: OneOrMore = ()
    accept: Annotated[AcceptMode, Field(strict=False)] = AcceptMode.OFFER
    ring: Annotated[float, Field(ge=1, le=3600, strict=False)] = 20.0
    patience: Seconds = 300.0
    fallback: Annotated[Fallback, Field(strict=False)] = Fallback.AI_AGENT
    fallback_message: Annotated[str, Field(max_length=MAX_TEXT)] = ""
    wait_message: Annotated[str, Field(max_length=MAX_TEXT)] = ""
    overflow: Identity | None = None
    relax: Annotated[tuple[_RelaxTable, ...], Field(strict=False)] = ()
    hours: Annotated[tuple[_HoursTable, ...], Field(strict=False)] = ()
    holidays: Annotated[tuple[Annotated[date, BeforeValidator(_holiday)], ...], Field(strict=False)] = ()
    priority: Annotated[int, Field(ge=0, le=MAX_PRIORITY)] = 0

    @model_validator(mode="after")
    def _has_its_message(self) -> _QueueTable:
        if (self.fallback is Fallback.MESSAGE) != bool(self.fallback_message):
            raise ValueError('fallback = "message" and fallback_message belong together')
        return self

    def read(self) -> Queue:
        return Queue(
            name=self.name,
            skills=frozenset(self.skills),
            accept=self.accept,
            ring=self.ring,
            patience=self.patience,
            fallback=self.fallback,
            fallback_message=self.fallback_message,
            wait_message=self.wait_message,
            overflow=self.overflow,
            relax=tuple(Relaxation(one.after, frozenset(one.drop)) for one in self.relax),
            hours=tuple(one.read() for one in self.hours),
            holidays=frozenset(self.holidays),
            priority=self.priority,
        )


class _PeopleTable(_Table):
    units: dict[ChannelName, Annotated[int, Field(ge=1, le=_MAX_CAPACITY)] | Literal["all"]] = {}
    hold_added_people: bool = True
    hold_added_ai_agents: bool = False
    after_added: Identity = Fallback.AI_AGENT.value


_TableT = TypeVar("_TableT", bound=_Table)
_MESSAGES: Final = {
    "extra_forbidden": "no such key",
    "missing": "is missing",
    "enum": "is not one of the allowed words",
}


#: A file and its document.
_File = tuple[Path, dict[str, Any]]


class _Reader:
    """Collects the problems of both files."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def load(self, path: Path) -> dict[str, Any]:
        """Return a file's document, empty if it cannot be read."""
        try:
            return self.parse(path, path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(f"{path}: {error}")
            return {}

    def parse(self, path: Path, text: str) -> dict[str, Any]:
        """Return the document of a file's text, empty if it is not TOML."""
        try:
            return parse_toml(text, str(path), SettingsError)
        except SettingsError as error:
            self.problems += error.problems
            return {}

    def tables(self, path: Path, document: dict[str, Any], name: str, model: type[_TableT]) -> list[_TableT]:
        """Return the [[name]] tables of a document."""
        rows = document.get(name, [])
        if not isinstance(rows, list):
            self.problems.append(f"{path}: {name}: is written as [[{name}]] tables")
            return []
        found = (self.table(f"{path}: {name} {number}", row, model) for number, row in enumerate(rows, 1))
        return [one for one in found if one is not None]

    def table(self, where: str, row: Any, model: type[_TableT]) -> _TableT | None:
        """Return one table, None if it has problems."""
        try:
            return model.model_validate(row)
        except ValidationError as error:
            for one in error.errors(include_url=False):
                key = ".".join(str(part) for part in one["loc"] if part != "[key]") or "it"
                self.problems.append(f"{where}: {key}: {_MESSAGES.get(one['type'], one['msg'])}")
            return None

    def repeated(self, path: Path, what: str, names: Iterable[str]) -> None:
        """Report names that are used several times."""
        counts = Counter(names)
        self.problems += [
            f"{path}: {what} '{name}' is used {times} times" for name, times in counts.items() if times > 1
        ]


def load_team(config_dir: Path) -> Team:
    """Return the people and queues of a configuration folder; raises SettingsError with all problems."""
    reader, roster, routing = _Reader(), config_dir / "roster.toml", config_dir / "routing.toml"
    return _read_team(reader, (roster, reader.load(roster)), (routing, reader.load(routing)))


def read_team(roster: str, routing: str) -> Team:
    """Return the people and queues of the texts of both files; raises SettingsError with all problems."""
    reader, first, second = _Reader(), Path("roster.toml"), Path("routing.toml")
    return _read_team(reader, (first, reader.parse(first, roster)), (second, reader.parse(second, routing)))


def _read_team(reader: _Reader, people_file: _File, queues_file: _File) -> Team:
    (roster, people), (routing, document) = people_file, queues_file
    reader.problems += [f"{roster}: unknown key '{key}' (known: agent)" for key in sorted(people.keys() - {"agent"})]
    agents = reader.tables(roster, people, "agent", _AgentTable)
    if not agents and not reader.problems:
        reader.problems.append(f"{roster}: no [[agent]]: nobody could take a participant")
    reader.repeated(roster, "identity", [one.identity for one in agents])
    queues = reader.tables(routing, document, "queue", _QueueTable)
    reader.repeated(routing, "queue", [one.name for one in queues])
    by_name = {one.name: one.read() for one in queues}
    shared = reader.table(f"{routing}: people", document.get("people", {}), _PeopleTable) or _PeopleTable()
    _check_names(reader, routing, by_name, shared, document)
    if reader.problems:
        raise SettingsError(reader.problems)
    return Team(
        members={one.identity: _member(one) for one in agents},
        queues=by_name,
        units={str(channel): None if value == "all" else value for channel, value in shared.units.items()},
        is_holder_foreign=shared.hold_added_people,
        is_ai_foreign=shared.hold_added_ai_agents,
        after_foreign=None if shared.after_added == Fallback.AI_AGENT else shared.after_added,
    )


def _member(table: _AgentTable) -> TeamMember:
    channels = None if table.channels is None else tuple(map(str, table.channels))
    addresses = {str(channel): address for channel, address in table.addresses.items()}
    return TeamMember(table.identity, table.name, table.capacity, table.skills, channels, addresses, table.wrap_up)


def _check_names(
    reader: _Reader, routing: Path, queues: dict[str, Queue], shared: _PeopleTable, document: dict[str, Any]
) -> None:
    """Report queues that are named and do not exist, and a circle of overflows."""
    known = {*queues, DEFAULT_QUEUE}
    rules = document.get("rule", [])
    tables = [*(rules if isinstance(rules, list) else []), document.get("default", {})]
    named = {
        f"rule '{one.get('name', 'default')}'": one["queue"]
        for one in tables
        if isinstance(one, dict) and "queue" in one
    }
    named |= {f"queue '{one.name}': overflow": one.overflow for one in queues.values() if one.overflow is not None}
    if shared.after_added != Fallback.AI_AGENT:
        named["people: after_added"] = shared.after_added
    reader.problems += [
        f"{routing}: {where}: there is no queue '{name}'" for where, name in named.items() if name not in known
    ]
    if circle := find_circle(queues):
        reader.problems.append(f"{routing}: queues overflow into each other: {' -> '.join(circle)}")
