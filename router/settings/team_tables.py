"""The tables of the people and the queues: [[agent]] in roster.toml, [[queue]] and [people] in routing.toml."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from router.core.addresses import Channel
from router.core.hours_table import HoursReader
from router.core.policy import MAX_PRIORITY, Hours
from router.core.routing.commands import MAX_TEXT
from router.core.routing.queues import AcceptMode, Fallback, Queue, Relaxation
from router.core.routing.team import TeamMember
from router.core.routing.transitions import FOREIGN

#: The most units of one person.
MAX_CAPACITY: Final = 10_000
#: Seconds: the longest time that a queue or a person may be given.
MAX_SECONDS: Final = 30 * 86_400
#: Seconds: the longest time that one person is asked.
MAX_RING: Final = 3600
#: The placeholders of a `wait_message`.
PLACES: Final = frozenset({"place", "minutes"})
_NAME: Final = r"^[^\s\x00-\x1f\x7f]+$"
_TEXT: Final = r"\S"


def _listed(value: Any) -> Any:
    """Return a single value as a list: whoever has one skill need not write brackets."""
    return [value] if isinstance(value, str | dict | date) else value


def _own(value: str) -> str:
    if value.startswith(FOREIGN):
        raise ValueError(f"must not begin with '{FOREIGN}', which names people of other systems")
    return value


def _holiday(value: Any) -> Any:
    if isinstance(value, date) and not isinstance(value, datetime):  # which is a date to Python, and equals none
        return value
    try:
        return date.fromisoformat(value)
    except (ValueError, TypeError):
        raise ValueError(f"{_shown(value)} is not a date such as 2026-12-25") from None


def _units(value: Any) -> Any:
    if value == "all":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_CAPACITY:
        raise ValueError(f'must be a whole number from 1 to {MAX_CAPACITY}, or "all", not {_shown(value)}')
    return value


def _window(value: Any) -> Hours:
    if isinstance(value, Hours):
        return value
    problems: list[str] = []
    hours = HoursReader(problems.append).read(value)
    if hours is None or problems:
        raise ValueError("; ".join(problems))
    return hours


def _message(text: str) -> str:
    if unknown := sorted(set(re.findall(r"\{([^{}]*)\}", text)) - PLACES):
        raise ValueError(f"has {{{unknown[0]}}}, and only {{place}} and {{minutes}} are replaced")
    return text


Name = Annotated[str, Field(min_length=1, max_length=120, pattern=_NAME)]
Skills = Annotated[tuple[Name, ...], Field(strict=False, max_length=50), BeforeValidator(_listed)]
ChannelName = Annotated[Channel, Field(strict=False)]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
Units = Annotated[int | None, BeforeValidator(_units)]
Message = Annotated[str, Field(max_length=MAX_TEXT)]


class Table(BaseModel):
    """A table of a file, read strictly."""

    model_config = ConfigDict(extra="forbid", strict=True)


class AgentTable(Table):
    """One [[agent]]."""

    identity: Annotated[Name, BeforeValidator(lambda value: _own(value) if isinstance(value, str) else value)]
    name: Annotated[str, Field(min_length=1, max_length=120, pattern=_TEXT)]
    capacity: Annotated[int, Field(ge=1, le=MAX_CAPACITY)]
    skills: Skills = ()
    channels: Annotated[tuple[ChannelName, ...], Field(strict=False, min_length=1), BeforeValidator(_listed)] | None = (
        None
    )
    addresses: dict[ChannelName, Annotated[str, Field(min_length=1, pattern=_TEXT)]] = {}
    wrap_up: Seconds = 0.0

    def read(self) -> TeamMember:
        """Return the person."""
        channels = None if self.channels is None else tuple(map(str, self.channels))
        addresses = {str(channel): address for channel, address in self.addresses.items()}
        return TeamMember(self.identity, self.name, self.capacity, self.skills, channels, addresses, self.wrap_up)


class RelaxTable(Table):
    """One step of `relax`."""

    after: Seconds
    drop: Skills = ()


class QueueTable(Table):
    """One [[queue]]; core.routing.queues has the meaning of the keys."""

    name: Name
    skills: Skills = ()
    accept: Annotated[AcceptMode, Field(strict=False)] = AcceptMode.OFFER
    ring: Annotated[float, Field(ge=1, le=MAX_RING, allow_inf_nan=False)] = 20.0
    patience: Seconds = 300.0
    fallback: Annotated[Fallback, Field(strict=False)] = Fallback.AI_AGENT
    fallback_message: Message = ""
    wait_message: Annotated[
        Message, BeforeValidator(lambda value: _message(value) if isinstance(value, str) else value)
    ] = ""
    overflow: Name | None = None
    relax: Annotated[tuple[RelaxTable, ...], Field(strict=False), BeforeValidator(_listed)] = ()
    hours: Annotated[
        tuple[Annotated[Any, BeforeValidator(_window)], ...], Field(strict=False), BeforeValidator(_listed)
    ] = ()
    holidays: Annotated[
        tuple[Annotated[date, BeforeValidator(_holiday)], ...], Field(strict=False), BeforeValidator(_listed)
    ] = ()
    priority: Annotated[int, Field(ge=0, le=MAX_PRIORITY)] = 0

    @model_validator(mode="after")
    def _has_its_message(self) -> QueueTable:
        if self.name == Fallback.AI_AGENT:
            raise ValueError(f"name: '{self.name}' is the AI agent, and no name for a queue")
        if self.fallback is Fallback.MESSAGE and not self.fallback_message.strip():
            raise ValueError('fallback_message: is missing, which fallback = "message" sends')
        if self.fallback is not Fallback.MESSAGE and self.fallback_message:
            raise ValueError('fallback_message: is sent by fallback = "message" only')
        return self

    def read(self) -> Queue:
        """Return the queue."""
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
            hours=self.hours,
            holidays=frozenset(self.holidays),
            priority=self.priority,
        )


class PeopleTable(Table):
    """The table [people]."""

    units: dict[ChannelName, Units] = {}
    hold_added_people: bool = True
    hold_added_ai_agents: bool = False
    after_added: Name = Fallback.AI_AGENT.value


#: Descriptions of faults, by the type of pydantic's error, instead of pydantic's words.
_MESSAGES: Final = {
    "missing": "is missing",
    "string_type": "must be a text, not {input}",
    "int_type": "must be a whole number, not {input}",
    "float_type": "must be a number, not {input}",
    "finite_number": "must be a number, not {input}",
    "bool_type": "must be true or false, not {input}",
    "dict_type": "must be a table, not {input}",
    "model_type": "must be a table, not {input}",
    "tuple_type": "must be a list of {what}, not {input}",
    "greater_than_equal": "must be {ge:.0f} or more, not {input}",
    "less_than_equal": "must be {le:.0f} or less, not {input}",
    "string_too_short": "is empty",
    "string_too_long": "has more than {max_length} characters",
    "too_short": "is empty",
    "too_long": "has more than {max_length} values",
    "enum": "{input} is not one of {expected}",
}
#: The elements of lists that are not texts.
_LISTS: Final = {"relax": "tables", "hours": "tables", "holidays": "dates"}
_MOST_SHOWN: Final = 60


def problems_of(error: ValidationError, model: type[Table]) -> list[tuple[str, str]]:
    """Describe the fault of a table: the key at its top, and the reason, which begins with the whole key."""
    errors = error.errors(include_url=False)
    nested = {one["loc"][0] for one in errors if len(one["loc"]) > 1}
    found = []
    for one in errors:
        if one["type"] == "too_short" and one["loc"][0] in nested:
            continue  # what is in the list was wrong
        path = [str(part) if isinstance(part, str) else str(part + 1) for part in one["loc"] if part != "[key]"]
        reason, key = _reason(one, model), ".".join(path)
        if not path:  # of the table as a whole, or of several keys together
            key, colon, rest = reason.partition(": ")
            key, reason = (key, rest) if colon and key in model.model_fields else ("it", reason)
        found.append((path[0] if path else key, f"{key}: {reason}"))
    return found


def _reason(one: Any, model: type[Table]) -> str:
    kind, ctx = one["type"], dict(one.get("ctx", {}))
    if kind == "extra_forbidden":
        inner = RelaxTable if len(one["loc"]) > 1 else model
        return f"no such key (known: {', '.join(sorted(inner.model_fields))})"
    if kind == "string_pattern_mismatch":
        is_blank = ctx["pattern"] == _TEXT
        return "is empty" if is_blank else f"must be one word, without spaces, not {_shown(one['input'])}"
    if kind == "enum":
        ctx["expected"] = str(ctx["expected"]).replace("'", "").replace(" or ", ", ")
    if kind in _MESSAGES:
        what = _LISTS.get(str(one["loc"][-1]) if one["loc"] else "", "texts")
        return _MESSAGES[kind].format(**(ctx | {"input": _shown(one["input"]), "what": what}))
    return str(one["msg"]).removeprefix("Value error, ")


def _shown(value: Any) -> str:
    """Return a value as the file has it, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    text = value.isoformat() if isinstance(value, date) else repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
