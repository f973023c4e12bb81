"""The state of a deployment as values: its problems, and the numbers from which they follow."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from router.core.timestamps import to_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.operations.processes import ProcessState
    from router.operations.streams import StreamReport
    from router.operations.team import QueueReport


class Level(StrEnum):
    """How bad it is. DOWN: webhooks may be refused, or nothing is processed; DEGRADED: something is late or lost."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: its words, what to do, and the section of docs/operations.md that says more."""

    level: Level
    text: str
    action: str
    section: str

    def to_json(self) -> dict[str, str]:
        """Return the problem for programs."""
        return {"level": self.level, "text": self.text, "action": self.action, "section": self.section}


@dataclass(frozen=True, slots=True)
class SpoolReport:
    """The spools of all receivers: events that wait there for Redis, their bytes, and the worst state of a disk.

    `left`: events that receivers which have ended within a day left on the disk of a host.
    """

    entries: int = 0
    size: int = 0
    state: str = "off"
    left: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the spools for programs."""
        return {"entries": self.entries, "bytes": self.size, "state": self.state, "left": dict(self.left)}


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a deployment at a time (µs). `oldest` is the time of the oldest event that is not finished.

    `refusals`: the error with which Redis refuses writes, by partition. `refused_lately`: webhooks of our own accounts
    that were refused within an hour; `not_stored`: those that nothing could store, of receivers that had such within an
    hour, and the time of the last one; `queues` of the people, if there is a roster.
    """

    at: int
    level: Level
    problems: tuple[Problem, ...] = ()
    processes: tuple[ProcessState, ...] = ()
    streams: tuple[StreamReport, ...] = ()
    waiting: int = 0
    spool: SpoolReport = field(default_factory=SpoolReport)
    oldest: int | None = None
    dead_letters: int = 0
    quarantine: Mapping[str, int] = field(default_factory=dict)
    refusals: Mapping[int, str] = field(default_factory=dict)
    refused_lately: int = 0
    not_stored: tuple[int, int] = (0, 0)
    queues: tuple[QueueReport, ...] = ()

    @property
    def lag(self) -> int:
        """Entries that groups of ours have not read."""
        return sum(group.lag for stream in self.streams for group in stream.groups)

    def to_json(self) -> dict[str, Any]:
        """Return the state for programs."""
        return {
            "at": to_text(self.at),
            "level": self.level,
            "problems": [problem.to_json() for problem in self.problems],
            "processes": [process.to_json() for process in self.processes],
            "streams": [stream.to_json() for stream in self.streams],
            "lag": self.lag,
            "waiting": self.waiting,
            "spool": self.spool.to_json(),
            "oldest": None if self.oldest is None else to_text(self.oldest),
            "dead_letters": self.dead_letters,
            "quarantine": dict(self.quarantine),
            "refusals": {str(partition): error for partition, error in self.refusals.items()},
            "refused_lately": self.refused_lately,
            "queues": [queue.to_json() for queue in self.queues],
        }
