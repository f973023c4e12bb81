"""Reads the people in roster.toml, and the queues and what people take in routing.toml, into a Team.

Both files explain their keys. They are read strictly and as a whole: unknown keys, queues that are named and missing,
and queues that overflow into each other stop the start, all of them listed with file, line, number of the table, key.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import ValidationError

from router.core.errors import SettingsError
from router.core.routing.queues import DEFAULT_QUEUE, Fallback, Queue, find_circle
from router.core.routing.team import Team
from router.settings.files import describe_unreadable
from router.settings.team_tables import AgentTable, PeopleTable, QueueTable, Table, problems_of
from router.settings.toml_lines import TomlLines, parse_toml

if TYPE_CHECKING:
    from pathlib import Path

ROSTER: Final = "roster.toml"
ROUTING: Final = "routing.toml"
_TableT = TypeVar("_TableT", bound=Table)


class _TeamReader(TomlLines):
    """Reads the [[table]]s of one file, and collects every problem."""

    def __init__(self, text: str, origin: str, *, table: str) -> None:
        super().__init__(text, origin, table=table)
        self._name = table

    def rows(self, document: dict[str, Any]) -> list[Any]:
        """Return the tables as they are written."""
        rows = document.get(self._name, [])
        if isinstance(rows, list):
            return rows
        self.report(self.find_top(self._name), f"{self._name}: is written as [[{self._name}]] tables")
        return []

    def tables(self, rows: list[Any], model: type[_TableT]) -> list[_TableT]:
        """Return the tables without mistakes."""
        found = (
            self.table(row, f"{self._name} {number}", self.line_of(number - 1), model)
            for number, row in enumerate(rows, 1)
        )
        return [one for one in found if one is not None]

    def table(self, row: Any, where: str, line: int, model: type[_TableT]) -> _TableT | None:
        """Return one table, None if it has mistakes."""
        try:
            return model.model_validate(row)
        except ValidationError as error:
            for key, reason in problems_of(error, model):
                self.report(self.find(key, line), f"{where}: {reason}")
            return None

    def repeated(self, rows: list[Any], key: str) -> None:
        """Report names that several tables have."""
        names = [row[key] for row in rows if isinstance(row, dict) and isinstance(row.get(key), str)]
        for name, times in Counter(names).items():
            lines = [str(self.line_of(at)) for at, row in enumerate(rows) if _text(row, key) == name]
            if times > 1:
                reason = f"{self._name}: {key} '{name}' is used {times} times (lines {', '.join(lines)})"
                self.report(int(lines[-1]), reason)


def _text(row: Any, key: str) -> str | None:
    """Return a text of a table that may have any mistake, None if there is none."""
    value = row.get(key) if isinstance(row, dict) else None
    return value if isinstance(value, str) else None


def read_team(roster: str, routing: str, *, origins: tuple[str, str] = (ROSTER, ROUTING)) -> Team:
    """Return the team in the texts of both files; raises SettingsError with every problem as `origin:line: reason`."""
    problems: list[str] = []
    return _make_team(_read_agents(roster, origins[0], problems), routing, origins[1], problems)


def load_team(config_dir: Path, *, needs_people: bool = False) -> Team:
    """Return the people and queues of a configuration folder; raises SettingsError with all problems.

    A folder without roster.toml has no people, as a router needs none; with `needs_people` that is a problem, too.
    """
    problems: list[str] = []
    has_people = needs_people or (config_dir / ROSTER).exists()
    agents = _read_agents(*_read_file(config_dir / ROSTER, problems), problems) if has_people else []
    text, origin = _read_file(config_dir / ROUTING, problems)
    return _make_team(agents, text, origin, problems)


def _make_team(agents: list[AgentTable], routing: str | None, origin: str, problems: list[str]) -> Team:
    queues, people = _read_queues(routing, origin, problems)
    if not problems:
        problems += _too_large(TomlLines(routing or "", origin, table="queue"), people, agents)
    if problems:
        raise SettingsError(problems)
    return Team(
        members={one.identity: one.read() for one in agents},
        queues={one.name: one.read() for one in queues},
        units={str(channel): value for channel, value in people.units.items()},
        is_holder_foreign=people.hold_added_people,
        is_ai_foreign=people.hold_added_ai_agents,
        after_foreign=None if people.after_added == Fallback.AI_AGENT else people.after_added,
    )


def _read_file(path: Path, problems: list[str]) -> tuple[str | None, str]:
    """Return the text, None if it cannot be read, and the name of the file."""
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except (OSError, UnicodeDecodeError) as error:
        problems.append(describe_unreadable(path, error))
        return None, str(path)


def _parse(text: str | None, origin: str, problems: list[str]) -> dict[str, Any] | None:
    """Return the document; None if there is none, or it is no TOML."""
    try:
        return None if text is None else parse_toml(text, origin, SettingsError)
    except SettingsError as error:
        problems += error.problems
        return None


def _read_agents(text: str | None, origin: str, problems: list[str]) -> list[AgentTable]:
    document = _parse(text, origin, problems)
    if text is None or document is None:
        return []
    reader = _TeamReader(text, origin, table="agent")
    for key in sorted(document.keys() - {"agent"}):
        reader.report(reader.find_top(key), f"unknown table or key '{key}' (known: agent)")
    rows = reader.rows(document)
    if not rows and not reader.problems:
        reader.report(1, "no [[agent]]: nobody could take a participant")
    agents = reader.tables(rows, AgentTable)
    reader.repeated(rows, "identity")
    problems += reader.problems
    return agents


def _read_queues(text: str | None, origin: str, problems: list[str]) -> tuple[list[QueueTable], PeopleTable]:
    document = _parse(text, origin, problems)
    if text is None or document is None:
        return [], PeopleTable()
    reader = _TeamReader(text, origin, table="queue")
    rows = reader.rows(document)
    queues = reader.tables(rows, QueueTable)
    reader.repeated(rows, "name")
    shared = reader.table(document.get("people", {}), "people", reader.find_top("people"), PeopleTable)
    _check_names(reader, rows, document, text)
    _check_circles(reader, rows)
    problems += reader.problems
    return queues, shared or PeopleTable()


def _too_large(lines: TomlLines, people: PeopleTable, agents: list[AgentTable]) -> list[str]:
    """Return a problem for each channel on which a conversation takes more units than anybody has."""
    if not agents:
        return []
    most = max(one.capacity for one in agents)
    for channel, units in people.units.items():
        if units is not None and units > most:
            reason = f"people: units.{channel}: nobody has a capacity of {units}, the most is {most}"
            lines.report(lines.find("units", lines.find_top("people")), reason)
    return lines.problems


def _check_names(reader: _TeamReader, rows: list[Any], document: dict[str, Any], text: str) -> None:
    """Report queues that are named and do not exist."""
    known = {DEFAULT_QUEUE, *(name for row in rows if (name := _text(row, "name")) is not None)}
    choice = f"(known: {', '.join(sorted(known))})"
    rules = TomlLines(text, reader.origin, table="rule")
    listed = document.get("rule", [])
    for index, rule in enumerate(listed if isinstance(listed, list) else []):
        named, line = _text(rule, "queue"), rules.line_of(index)
        if named and named not in known:
            reader.report(rules.find("queue", line), f"rule {index + 1}: queue: there is no queue '{named}' {choice}")
    default, line = _text(document.get("default"), "queue"), reader.find_top("default")
    if default and default not in known:
        reader.report(reader.find("queue", line), f"default: queue: there is no queue '{default}' {choice}")
    for index, row in enumerate(rows):
        overflow, line = _text(row, "overflow"), reader.line_of(index)
        if overflow is not None and overflow not in known:
            reason = f"queue {index + 1}: overflow: there is no queue '{overflow}' {choice}"
            reader.report(reader.find("overflow", line), reason)
    after = _text(document.get("people"), "after_added")
    if after is not None and after not in {Fallback.AI_AGENT, *known}:
        line = reader.find("after_added", reader.find_top("people"))
        reader.report(
            line, f"people: after_added: is not '{Fallback.AI_AGENT}', and there is no queue '{after}' {choice}"
        )


def _check_circles(reader: _TeamReader, rows: list[Any]) -> None:
    """Report queues that overflow into each other: each circle once."""
    places = {name: index for index, row in enumerate(rows) if (name := _text(row, "name")) is not None}
    queues = {name: Queue(name, overflow=_text(rows[index], "overflow")) for name, index in places.items()}
    while circle := find_circle(queues):
        line = reader.find("overflow", reader.line_of(places[circle[0]]))
        what = "itself" if len(circle) == 2 else "each other"  # noqa: PLR2004 - the same name twice
        reader.report(line, f"queues overflow into {what}: {' -> '.join(circle)}")
        for name in circle:
            queues.pop(name, None)
