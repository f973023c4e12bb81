"""The function that answers for the AI agent; ROUTER_AI_AGENT_REPLY="package.module:function" names another one.

    async def reply(joined: JoinedEntry) -> str | Handoff | None: ...

    @replies_to(CommunicationEntry)
    async def reply(communication: CommunicationEntry) -> str | Handoff | None: ...

    @replies_to(TurnEntry)
    async def reply(turn: TurnEntry) -> str | Handoff | None: ...

The module is found where Python finds modules, and in the current folder. A reply gets the entry and returns the text
to send; None or blank sends nothing. `handoff(reason, ...)` asks for a person, with or without a text. Without
`replies_to` it is called for participant.joined only. The first message of a customer makes both entries, so a reply to
both types answers it twice, unless it returns None for one of them. A plain function runs in a thread and may block. A
reply is called once per entry, or again if the process dies before it returns; its answer is kept. There is no time
limit. docs/ai-agents.md has the rest.

A turn has all that a customer said in one burst, where the routing rule has a `burst`. A reply to both
TurnEntry and CommunicationEntry gets each message once: in its turn where there are turns, by itself elsewhere.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import orjson

from router.agents.history import HistoryText
from router.core.entries import (
    CommandRefusedData,
    CommunicationData,
    Entry,
    HandoffFailedData,
    HolderChangedData,
    JoinedData,
    TurnData,
)
from router.core.errors import SettingsError, UnusableError
from router.core.routing.commands import check_data
from router.core.routing.holding import MAX_SUMMARY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class JoinedEntry(Entry):
    """A participant.joined entry with typed data."""

    data: JoinedData


class CommunicationEntry(Entry):
    """A communication.received entry with typed data."""

    data: CommunicationData


class TurnEntry(Entry):
    """A turn.ready entry with typed data."""

    data: TurnData


class HolderChangedEntry(Entry):
    """A holder.changed entry with typed data: the AI agent holds again; `data.note` is the person's note."""

    data: HolderChangedData


class HandoffFailedEntry(Entry):
    """A handoff.failed entry with typed data: nobody accepted, and the AI agent holds the conversation."""

    data: HandoffFailedData


class CommandRefusedEntry(Entry):
    """A command.refused entry with typed data: a request for a person was refused, `data.why` names the reason."""

    data: CommandRefusedData


@dataclass(frozen=True, slots=True)
class Handoff:
    """An answer that asks for a person: the data of a `handoff.request`, and the text to send; made by `handoff`."""

    request: Mapping[str, Any]
    text: str | None = None


def handoff(
    reason: str,
    *,
    text: str | None = None,
    summary: str | None = None,
    context: Mapping[str, Any] | None = None,
    skills: Sequence[str] = (),
    queue: str | None = None,
    agent: str | None = None,
    priority: int = 0,
) -> Handoff:
    """Return an answer that asks for a person, after `text` was sent. The AI agent holds until one accepts.

    `reason` and `summary` are cut to 4,000 characters. `context` is an object of up to 8 KB of JSON. `skills` must all
    be of one person; `queue` and `agent` name a queue and a person of the configuration. Raises ValueError if the
    command would be refused as unreadable; what is unknown to the configuration comes back as command.refused.
    """
    request: dict[str, Any] = {
        "reason": _cut(reason),
        "summary": _cut(summary),
        "context": None if context is None else dict(context),
        "skills": skills if isinstance(skills, str) else list(skills),
        "queue": queue,
        "agent": agent,
        "priority": priority,
    }
    request = {name: value for name, value in request.items() if value not in (None, [])}
    try:
        request = orjson.loads(orjson.dumps(request))
        check_data("handoff.request", {"conversation": "its own", **request})
    except TypeError as error:
        raise ValueError(f"handoff: is not JSON: {error}") from None
    except UnusableError as error:
        raise ValueError(str(error)) from None
    return Handoff(request, text)


def _cut(text: Any) -> Any:
    return text[:MAX_SUMMARY] if isinstance(text, str) else text


class ReplyAnswer(NamedTuple):
    """The answer of a reply: a text, empty for none, and the data of a request for a person."""

    text: str = ""
    request: Mapping[str, Any] | None = None


Reply = Callable[[Any], str | Handoff | Awaitable[str | Handoff | None] | None]
ReplyT = TypeVar("ReplyT", bound=Reply)

#: The entries that a reply can be called for, by type.
_MODELS: Final[dict[str, type[Entry]]] = {
    JoinedData.type: JoinedEntry,
    CommunicationData.type: CommunicationEntry,
    TurnData.type: TurnEntry,
    HolderChangedData.type: HolderChangedEntry,
    HandoffFailedData.type: HandoffFailedEntry,
    CommandRefusedData.type: CommandRefusedEntry,
}
#: The attribute of a reply that holds the types it is called for.
_TYPES: Final = "entry_types"


def replies_to(*models: type[Entry]) -> Callable[[ReplyT], ReplyT]:
    """Mark a reply with the entries that it is to be called for, each a class of this module.

    Raises TypeError for any other model.
    """
    types = frozenset(kind for kind, model in _MODELS.items() if model in models)
    if len(types) != len(models) or not types:
        names = ", ".join(model.__name__ for model in _MODELS.values())
        raise TypeError(f"replies_to takes {names}, each at most once")

    def mark(reply: ReplyT) -> ReplyT:
        setattr(reply, _TYPES, types)
        return reply

    return mark


#: Reads the texts of the conversation that a reply is asked about: at most a number of them.
History = Callable[[int], Awaitable[list[HistoryText]]]
_HISTORY: ContextVar[History] = ContextVar("history")


async def list_communications(most: int = 100) -> list[HistoryText]:
    """Return the newest texts of the conversation that the reply is asked about, oldest first, from the API.

    Each call costs a request per 1,000 communications of the conversation. Raises ApiError, LookupError if no reply is
    running.
    """
    return await _HISTORY.get()(most)


@contextmanager
def reading(history: History) -> Iterator[None]:
    """Let a reply that is called in the block read a conversation."""
    token = _HISTORY.set(history)
    try:
        yield
    finally:
        _HISTORY.reset(token)


def is_asked_for(reply: Reply, kind: str) -> bool:
    """Return whether a reply is to be called for entries of a type."""
    types: frozenset[str] = getattr(reply, _TYPES, frozenset({JoinedData.type}))
    return kind in types


def make_greeting(text: str) -> Reply:
    """Return a reply that always returns `text`."""

    async def greet(_: JoinedEntry) -> str | None:
        return text

    return greet


def load_reply(dotted: str) -> Reply:
    """Return the function named by `package.module:function`; raises SettingsError if it cannot be loaded or called."""
    variable = "ROUTER_AI_AGENT_REPLY"
    module, colon, path = dotted.partition(":")
    if not (module and colon and path):
        raise SettingsError([f"{variable}: '{dotted}' is not of the form package.module:function"])
    _search_here()
    try:
        found: Any = import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except (Exception, SystemExit) as error:
        # importing a module of the user's can raise anything
        raise SettingsError([f"{variable}: '{dotted}' cannot be loaded: {type(error).__name__}: {error}"]) from error
    if not callable(found):
        raise SettingsError([f"{variable}: '{dotted}' is not a function ({type(found).__name__})"])
    reply: Reply = found
    return reply


def _search_here() -> None:
    """Let modules be found in the current folder too, after all others, however the process was started."""
    here = str(Path.cwd())
    if not {"", here} & set(sys.path):
        sys.path.append(here)


async def ask(reply: Reply, entry: Entry) -> ReplyAnswer:
    """Call `reply` and return its answer; empty if it has none or is not to be called for entries of this type.

    Raises TypeError if it returns anything but text, a Handoff or None.
    """
    if not is_asked_for(reply, entry.type):
        return ReplyAnswer()
    typed = _MODELS[entry.type](**dict(entry))
    is_async = inspect.iscoroutinefunction(reply) or inspect.iscoroutinefunction(type(reply).__call__)
    answer = reply(typed) if is_async else await asyncio.to_thread(reply, typed)
    found = await answer if inspect.isawaitable(answer) else answer
    text, request = (found.text, found.request) if isinstance(found, Handoff) else (found, None)
    if text is not None and not isinstance(text, str):
        raise TypeError(f"the reply returned {type(text).__name__}, not text, a handoff or None")
    return ReplyAnswer(text if text and text.strip() else "", request)
