"""The sandbox's conversations in a file, so that they outlive its process: a restart, and a kill but for a second.

The first line says for which account and with which fields the rest was written; a file of another account or release
is not read. The rest is a pickle of the records, from which nothing but records is made. The switches are not kept:
they come with each start, and so do the URLs of the configurations' status callbacks, which replace the former ones.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
import pickle
import time
from collections import OrderedDict
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.sandbox.classic import records as classic_records
from router.sandbox.v2 import records
from router.sandbox.v2.configurations import find_callback_urls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from router.sandbox.state import SandboxState
    from router.sandbox.v2.records import Callback, ConversationSettings

#: Seconds between two looks at whether something has changed.
STEP: Final = 1.0
#: The pause between two writes is at least so many times what a write takes.
_SHARE: Final = 20
_V2: Final = (
    *("profiles", "memories", "conversations", "timers", "closed", "keys", "resource_ids", "operations"),
    *("repeated_writes", "configurations"),
)
_CLASSIC: Final = ("conversations", "unique_names", "closed", "users", "webhook_target", "pairs", "timers", "_members")
#: Where the classes of the records are; nothing else is made of what a file holds.
_ROOMS: Final = ("router.sandbox.", "router.core.")
_COLLECTIONS: Final[dict[tuple[str, str], type[Any]]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
}


def can_read(path: Path, account_sid: str) -> bool:
    """Return whether a file holds the conversations of an account, as this release writes them."""
    try:
        with path.open("rb") as file:
            return _is_ours(file.readline(), account_sid)
    except OSError:
        return False


class MemoryFile:
    """The file of one sandbox; `count_writes` returns a number that changes with each request that may change it."""

    def __init__(self, path: Path, state: SandboxState, count_writes: Callable[[], int]) -> None:
        self._path = path
        self._state = state
        self._count_writes = count_writes
        self._written = -1

    def load(self) -> bool:
        """Restore what the file holds; returns whether there was anything of this account that can be read."""
        try:
            header, _, content = self._path.read_bytes().partition(b"\n")
            if not _is_ours(header, self._state.options.account_sid):
                return False
            kept = _RecordReader(io.BytesIO(content)).load()
            former: Mapping[str, str] = kept["callbacks"]
            changes = _changes(former, find_callback_urls(self._state.options.configurations))
            self._restore(kept)
        except (OSError, pickle.UnpicklingError, EOFError, AttributeError, KeyError, TypeError, ValueError, IndexError):
            self._state.reset()
            return False
        _replace_urls(self._state, changes)
        return True

    async def run(self) -> None:
        """Write whenever something has changed, until canceled."""
        while True:
            pause = max(STEP, _SHARE * self.save())
            await asyncio.sleep(pause)

    def save(self) -> float:
        """Write the file if something has changed; returns the seconds that it took."""
        number = self._count_writes()
        if number == self._written:
            return 0.0
        started = time.perf_counter()
        with suppress(OSError):  # a full disk is no reason to stop the work of a developer
            _write(self._path, self._dump())
            self._written = number
        return time.perf_counter() - started

    def _dump(self) -> bytes:
        state = self._state
        kept = {
            "callbacks": find_callback_urls(state.options.configurations),
            "clock": state.clock.position,
            "v2": {name: getattr(state, name) for name in _V2},
            "classic": {name: getattr(state.classic, name) for name in _CLASSIC},
        }
        header = {"account": state.options.account_sid, "format": _FORMAT}
        return orjson.dumps(header) + b"\n" + pickle.dumps(kept, protocol=pickle.HIGHEST_PROTOCOL)

    def _restore(self, kept: Any) -> None:
        state = self._state
        state.clock.position = kept["clock"]
        for target, names, values in ((state, _V2, kept["v2"]), (state.classic, _CLASSIC, kept["classic"])):
            for name in names:
                setattr(target, name, values[name])


class _RecordReader(pickle.Unpickler):
    """Makes records of the sandbox and plain collections, and nothing that a forged file could use otherwise."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _COLLECTIONS:
            return _COLLECTIONS[module, name]
        found = super().find_class(module, name) if module.startswith(_ROOMS) else None
        if not isinstance(found, type):
            raise pickle.UnpicklingError(f"{module}.{name} is no record")
        return found


def _changes(former: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str]:
    """Return the new URL for each former one: the receiver may listen on another port now."""
    return {url: present[name] for name, url in former.items() if name in present and present[name] != url}


def _replace_urls(state: SandboxState, changes: Mapping[str, str]) -> None:
    """Replace the URLs of status callbacks; conversations go on sharing the settings of their configuration."""
    if not changes:
        return
    done: dict[int, ConversationSettings] = {}

    def moved(settings: ConversationSettings) -> ConversationSettings:
        if id(settings) not in done:
            callbacks = _moved(settings.callbacks, changes)
            wire = settings.wire | {"statusCallbacks": [each.to_wire() for each in callbacks]}
            done[id(settings)] = dataclasses.replace(settings, callbacks=callbacks, wire=wire)
        return done[id(settings)]

    before = [one.settings for one in (*state.configurations, *state.conversations)]  # ids are those of what exists
    for one in (*state.configurations, *state.conversations):
        one.settings = moved(one.settings)
    for conversation in state.conversations:
        if conversation.callbacks is not None:
            conversation.callbacks = _moved(conversation.callbacks, changes)
    before.clear()


def _moved(callbacks: tuple[Callback, ...], changes: Mapping[str, str]) -> tuple[Callback, ...]:
    return tuple(dataclasses.replace(each, url=changes.get(each.url, each.url)) for each in callbacks)


def _is_ours(header: bytes, account_sid: str) -> bool:
    with suppress(orjson.JSONDecodeError):
        return bool(orjson.loads(header) == {"account": account_sid, "format": _FORMAT})
    return False


def _write(path: Path, content: bytes) -> None:
    """Write a file at once, so that a kill leaves the former one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.touch(mode=0o600)
    draft.write_bytes(content)
    draft.replace(path)


def _describe_format() -> str:
    """Return a digest of the names of all fields that a file holds: with others an older file cannot be read."""
    fields: list[object] = [_V2, _CLASSIC]
    for module in (records, classic_records):
        for name, each in sorted(vars(module).items()):
            if isinstance(each, type) and each.__module__ == module.__name__:
                fields.append((name, sorted(getattr(each, "__annotations__", ()))))
    return sha256(repr(fields).encode()).hexdigest()[:16]


_FORMAT: Final = _describe_format()
