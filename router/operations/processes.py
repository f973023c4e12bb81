"""The processes of a deployment, as they announce themselves (router.process.announce)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from router.core.timestamps import to_text
from router.streams.store.announcements import list_announcements

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.core.keys import Keys
    from router.streams.client.connection import Redis
    from router.streams.store.announcements import Announcement


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One process. `kind`: web, worker, console, or the group of a consumer; `facts` are its own.

    One that is not alive died within the last day without ending in order; its facts are its last. If it `has_ended` in
    order, it has left something behind.
    """

    name: str
    kind: str
    is_alive: bool
    seen_at: int
    host: str = ""
    pid: int = 0
    version: str = ""
    started_at: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    has_ended: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the process for programs."""
        return {
            "name": self.name,
            "kind": self.kind,
            "is_alive": self.is_alive,
            "seen_at": to_text(self.seen_at),
            "host": self.host,
            "pid": self.pid,
            "version": self.version,
            "started_at": to_text(self.started_at) if self.started_at else None,
            "facts": dict(self.facts),
        }


async def list_processes(redis: Redis, keys: Keys, *, with_ended: bool = False) -> list[ProcessState]:
    """Return the processes that are alive, by kind and start, then those that have died within a day.

    With `with_ended` also those that ended in order and have left something behind.
    """
    states = [_read(one) for one in await list_announcements(redis, keys)]
    found = [one for one in states if with_ended or not one.has_ended]
    return sorted(found, key=lambda one: (not one.is_alive, one.kind, one.started_at, one.name))


def _read(said: Announcement) -> ProcessState:
    """Return the state of a process; one whose record somebody has overwritten has no facts."""
    at = said.at * 1000
    record = _parse(said.record) if said.record is not None else {}
    kind = record.get("kind")
    return ProcessState(
        said.name,
        kind if isinstance(kind, str) else said.name.partition("/")[0],
        is_alive=said.is_alive,
        seen_at=at,
        host=str(record.get("host", "")),
        pid=_number(record.get("pid")),
        version=str(record.get("version", "")),
        started_at=_number(record.get("started_at")),
        facts=facts if isinstance(facts := record.get("facts"), dict) else {},
        has_ended=record.get("has_ended") is True,
    )


def _parse(text: bytes) -> dict[str, Any]:
    try:
        found: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 1 << 53 else 0
