"""What the AI agent answers with: a function that anybody can replace.

    async def reply(joined: JoinedEntry) -> str | None: ...

    @replies_to(CommunicationEntry)
    async def reply(communication: CommunicationEntry) -> str | None: ...

ROUTER_AI_AGENT_REPLY="package.module:function" names one. It gets the entry and returns the text to send, None or
blank for none. Without `replies_to` it is asked for participant.joined only: the first message of a customer makes
both entries, so whoever names both types answers it twice unless one of the two answers is None. It may be
asynchronous, or plain, in which case it runs in a thread of its own and may block. It is asked once per entry, unless
the process dies while it thinks; its answer is kept from there on. It has no time limit but its own.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, Final, TypeVar

from router.core.entries import CommunicationData, Entry, JoinedData
from router.core.errors import SettingsError


class JoinedEntry(Entry):
    """A participant.joined entry, with its data typed."""

    data: JoinedData


class CommunicationEntry(Entry):
    """A communication.received entry, with its data typed."""

    data: CommunicationData


Reply = Callable[[Any], str | Awaitable[str | None] | None]
ReplyT = TypeVar("ReplyT", bound=Reply)

#: The entries that a reply may be asked for, by type.
_MODELS: Final[dict[str, type[Entry]]] = {JoinedData.type: JoinedEntry, CommunicationData.type: CommunicationEntry}
#: Where a reply keeps what it is asked for.
_TYPES: Final = "entry_types"


def replies_to(*models: type[Entry]) -> Callable[[ReplyT], ReplyT]:
    """Mark a reply with the entries that it wants to be asked for (JoinedEntry, CommunicationEntry).

    Raises TypeError for a model that is none of them.
    """
    types = frozenset(kind for kind, model in _MODELS.items() if model in models)
    if len(types) != len(models) or not types:
        raise TypeError("a reply can be asked for JoinedEntry and CommunicationEntry, once each")

    def mark(reply: ReplyT) -> ReplyT:
        setattr(reply, _TYPES, types)
        return reply

    return mark


def is_asked_for(reply: Reply, kind: str) -> bool:
    """Tell whether a reply wants to be asked for entries of a type."""
    types: frozenset[str] = getattr(reply, _TYPES, frozenset({JoinedData.type}))
    return kind in types


def make_greeting(text: str) -> Reply:
    """Return the reply that always says `text`, and nothing where that is blank."""

    async def greet(_: JoinedEntry) -> str | None:
        return text

    return greet


def load_reply(dotted: str) -> Reply:
    """Return the function that `package.module:function` names; raises SettingsError if it cannot be called."""
    variable = "ROUTER_AI_AGENT_REPLY"
    module, colon, path = dotted.partition(":")
    if not (module and colon and path):
        raise SettingsError([f"{variable}: '{dotted}' is not of the form package.module:function"])
    try:
        found: Any = import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except Exception as error:
        # whatever a foreign module does when it is imported
        raise SettingsError([f"{variable}: '{dotted}' cannot be loaded: {type(error).__name__}: {error}"]) from error
    if not callable(found):
        raise SettingsError([f"{variable}: '{dotted}' is no function but {type(found).__name__}"])
    reply: Reply = found
    return reply


async def ask(reply: Reply, entry: Entry) -> str:
    """Return the text that `reply` gives, empty for none and where it is not asked for entries of this type.

    Raises TypeError if it gives anything but a text or None.
    """
    if not is_asked_for(reply, entry.type):
        return ""
    typed = _MODELS[entry.type](**dict(entry))
    is_async = inspect.iscoroutinefunction(reply) or inspect.iscoroutinefunction(type(reply).__call__)
    answer = reply(typed) if is_async else await asyncio.to_thread(reply, typed)
    text = await answer if inspect.isawaitable(answer) else answer
    if text is not None and not isinstance(text, str):
        raise TypeError(f"the reply is no text but {type(text).__name__}")
    return text if text and text.strip() else ""
