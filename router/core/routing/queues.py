"""Queues: named lines of waiting conversations, as config/routing.toml describes them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date, datetime

    from router.core.policy import Hours

#: The queue that there is without any in the file, and the one of a request that names none.
DEFAULT_QUEUE: Final = "default"


class AcceptMode(StrEnum):
    """The two ways in which a conversation comes to an agent."""

    OFFER = "offer"  # asked, with a deadline
    AUTOMATIC = "automatic"  # assigned without asking


class Fallback(StrEnum):
    """The treatment of a conversation that nobody accepted within the patience of its queue."""

    AI_AGENT = "ai-agent"  # the request ends, and the AI agent has the floor
    WAIT = "wait"  # it goes on waiting
    MESSAGE = "message"  # the customer gets the queue's `fallback_message`, and it goes on waiting


@dataclass(frozen=True, slots=True)
class Relaxation:
    """After `after` seconds in the queue the skills in `drop` are no longer needed; none named: no skill is."""

    after: float
    drop: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue. `ring`, `patience`: seconds of an offer, and until the overflow or the fallback.

    `skills` are needed besides those of the request. Outside all of `hours`, and on `holidays` (in the time zone of the
    first hours), nobody is asked: the overflow or the fallback takes a request at once. `wait_message` is sent to a
    customer who waits, with their {place} in line and the {minutes} that it may take, and again for each new place.
    """

    name: str = DEFAULT_QUEUE
    skills: frozenset[str] = frozenset()
    accept: AcceptMode = AcceptMode.OFFER
    ring: float = 20.0
    patience: float = 300.0
    fallback: Fallback = Fallback.AI_AGENT
    fallback_message: str = ""
    wait_message: str = ""
    overflow: str | None = None
    relax: tuple[Relaxation, ...] = ()
    hours: tuple[Hours, ...] = ()
    holidays: frozenset[date] = frozenset()
    priority: int = 0

    def is_open(self, now: datetime) -> bool:
        """Return whether agents are asked at `now` (aware)."""
        if not self.hours:
            return now.date() not in self.holidays
        return any(one.holds(now) and one.date_of(now) not in self.holidays for one in self.hours)

    def needed_skills(self, asked: Iterable[str], waited: float) -> frozenset[str]:
        """Return the skills that an agent needs for a request that has waited for so many seconds."""
        needed = self.skills | frozenset(asked)
        for step in self.relax:
            if waited >= step.after:
                needed = needed - step.drop if step.drop else frozenset()
        return needed

    def next_relaxation(self, waited: float) -> float | None:
        """Return the seconds in the queue at which the next relaxation is due, None if there is none."""
        return min((step.after for step in self.relax if step.after > waited), default=None)


def find_circle(queues: Mapping[str, Queue]) -> tuple[str, ...] | None:
    """Return the names of queues that overflow into each other, beginning and ending with the same; None if none do."""
    for name in queues:
        passed: list[str] = []
        current: str | None = name
        while current is not None and current in queues:
            if current in passed:
                return (*passed[passed.index(current) :], current)
            passed.append(current)
            current = queues[current].overflow
    return None
