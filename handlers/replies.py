"""The function that answers for the AI agent; ROUTER_AI_AGENT_REPLY="package.module:function" names another one.

    async def reply(joined: JoinedEntry) -> str | None: ...

    @replies_to(CommunicationEntry)
    async def reply(communication: CommunicationEntry) -> str | None: ...

    @replies_to(TurnEntry)
    async def reply(turn: TurnEntry) -> str | None: ...

The module is found where Python finds modules, and in the current folder. A reply gets the entry and returns the text
to send; None or blank sends nothing. Without `replies_to` it is called for participant.joined only. The first message
of a customer makes both entries, so a reply to both types answers it twice, unless it returns None for one of them. A
plain function runs in a thread and may block. A reply is called once per entry, or again if the process dies before it
returns; its text is kept. There is no time limit.

A turn has all that a customer said in one burst, where the routing rule has a `burst`. A reply to both
TurnEntry and CommunicationEntry gets each message once: in its turn where there are turns, by itself elsewhere.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeVar

from router.core.entries import CommunicationData, Entry, JoinedData, TurnData
from router.core.errors import SettingsError


class JoinedEntry(Entry):
    """A participant.joined entry with typed data."""

    data: JoinedData


class CommunicationEntry(Entry):
    """A communication.received entry with typed data."""

    data: CommunicationData


class TurnEntry(Entry):
    """A turn.ready entry with typed data."""

    data: TurnData


Reply = Callable[[Any], str | Awaitable[str | None] | None]
ReplyT = TypeVar("ReplyT", bound=Reply)

#: The entries that a reply can be called for, by type.
_MODELS: Final[dict[str, type[Entry]]] = {
    JoinedData.type: JoinedEntry,
    CommunicationData.type: CommunicationEntry,
    TurnData.type: TurnEntry,
}
#: The attribute of a reply that holds the types it is called for.
_TYPES: Final = "entry_types"


def replies_to(*models: type[Entry]) -> Callable[[ReplyT], ReplyT]:
    """Mark a reply with the entries that it is to be called for: any of JoinedEntry, CommunicationEntry, TurnEntry.

    Raises TypeError for any other model.
    """
    types = frozenset(kind for kind, model in _MODELS.items() if model in models)
    if len(types) != len(models) or not types:
        raise TypeError("replies_to takes JoinedEntry, CommunicationEntry and TurnEntry, each at most once")

    def mark(reply: ReplyT) -> ReplyT:
        setattr(reply, _TYPES, types)
        return reply

    return mark


def is_asked_for(reply: Reply, kind: str) -> bool:
    """Tell whether a reply is to be called for entries of a type."""
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


async def ask(reply: Reply, entry: Entry) -> str:
    """Call `reply` and return its text; empty if it has none or is not to be called for entries of this type.

    Raises TypeError if it returns anything but text or None.
    """
    if not is_asked_for(reply, entry.type):
        return ""
    typed = _MODELS[entry.type](**dict(entry))
    is_async = inspect.iscoroutinefunction(reply) or inspect.iscoroutinefunction(type(reply).__call__)
    answer = reply(typed) if is_async else await asyncio.to_thread(reply, typed)
    text = await answer if inspect.isawaitable(answer) else answer
    if text is not None and not isinstance(text, str):
        raise TypeError(f"the reply returned {type(text).__name__}, not text or None")
    return text if text and text.strip() else ""
