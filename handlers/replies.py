"""What the AI agent answers with: a function that anybody can replace.

    async def reply(joined: JoinedEntry) -> str | None: ...

ROUTER_AI_AGENT_REPLY="package.module:function" names another one. It gets the participant.joined entry and returns
the text to send, None or blank for none. It may be asynchronous, or plain, in which case it runs in a thread of its
own and may block. It is asked once per entry, unless the process dies while it thinks; its answer is kept from there
on. It has no time limit but its own.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

from router.core.entries import Entry, JoinedData
from router.core.errors import SettingsError


class JoinedEntry(Entry):
    """A participant.joined entry, with its data typed."""

    data: JoinedData


Reply = Callable[[JoinedEntry], str | Awaitable[str | None] | None]


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
    """Return the text that `reply` gives, empty for none; raises TypeError for anything but a text or None."""
    joined = JoinedEntry(**dict(entry))
    is_async = inspect.iscoroutinefunction(reply) or inspect.iscoroutinefunction(type(reply).__call__)
    answer = reply(joined) if is_async else await asyncio.to_thread(reply, joined)
    text = await answer if inspect.isawaitable(answer) else answer
    if text is not None and not isinstance(text, str):
        raise TypeError(f"the reply is no text but {type(text).__name__}")
    return text if text and text.strip() else ""
