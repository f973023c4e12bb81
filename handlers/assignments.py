"""The assignments of people to conversations in Redis: one person per conversation, within everybody's capacity.

Every operation is one run of scripts/roster.lua, atomic and repeatable; all keys are in partition 0. Each operation may
free capacity, and then assigns waiting conversations, the longest waiting first. An assigned conversation has a join
pending until its person has joined; after a lease any process may do that.

Two processes may handle entries of one conversation, so a leaving or closing can arrive before the joining that it
ends. Both are remembered for GONE seconds, and an older joining assigns nobody. Known gap: later than that it does.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import orjson
from pydantic import BaseModel, ConfigDict

from handlers.effects import load_script
from handlers.roster import AssignedAgent

if TYPE_CHECKING:
    from collections.abc import Callable

    from handlers.roster import Roster
    from router.core.keys import Keys
    from router.streams.client.connection import Redis

#: Seconds that a process has for a join before another may do it.
LEASE: Final = 30
#: Seconds for which a closed conversation and a customer who left are remembered.
GONE: Final = 86_400


class AssignmentRecord(BaseModel):
    """The stored state of a conversation; `customers` maps participant id to channel, `card` is an AssignedAgent."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    account: str
    conversation: str
    customers: dict[str, str] = {}
    agent: str | None = None
    card: str | None = None

    @property
    def assigned_agent(self) -> AssignedAgent | None:
        """The assigned person, None while the conversation waits."""
        return AssignedAgent.model_validate_json(self.card) if self.card else None


class AssignmentOutcome(StrEnum):
    """The state of a conversation after a customer was added."""

    ASSIGNED = "assigned"
    WAITING = "waiting"  # nobody has capacity
    CLOSED = "closed"
    LEFT = "left"  # the customer left after the time of the entry


@dataclass(frozen=True, slots=True)
class Assignment:
    """The outcome of adding a customer; `agent` if ASSIGNED.

    `newly_assigned` conversations, perhaps this one, got a person by the operation.
    """

    outcome: AssignmentOutcome
    newly_assigned: int = 0
    agent: AssignedAgent | None = None


class ReleaseOutcome(StrEnum):
    """The state of a conversation after a customer left or it closed."""

    RELEASED = "released"
    KEPT = "kept"  # other customers are still there
    UNKNOWN = "unknown"  # there was no such conversation or customer


@dataclass(frozen=True, slots=True)
class Release:
    """The outcome of a leaving or a closing; `agent` was assigned to the conversation.

    `newly_assigned` conversations got a person by the operation.
    """

    outcome: ReleaseOutcome
    agent: str | None = None
    newly_assigned: int = 0


class Assignments:
    """The assignments of one namespace. `clock` returns ms since 1970."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        roster: Roster,
        *,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._clock = clock
        self._roster = orjson.dumps(
            [
                {
                    "identity": one.identity,
                    "capacity": one.capacity,
                    "card": AssignedAgent.of(one).model_dump_json(),
                }
                for one in roster.agents
            ]
        )

    async def add_customer(
        self, account: str, conversation: str, customer: str, channel: str, joined_at: int
    ) -> Assignment:
        """Add a customer; the conversation is assigned, keeps its person, or waits. `joined_at` is in ms."""
        name = _name(account, conversation)
        record = orjson.dumps({"account": account, "conversation": conversation, "customers": {}})
        args = [name, record, customer, channel, joined_at, LEASE * 1000]
        reply = await self._run("enter", args, gone=(name, f"{name}|{customer}"))
        outcome = AssignmentOutcome(reply[0].decode())
        newly_assigned = int(reply[1]) if len(reply) > 1 else 0
        if outcome is not AssignmentOutcome.ASSIGNED:
            return Assignment(outcome, newly_assigned)
        return Assignment(outcome, newly_assigned, AssignedAgent.model_validate_json(reply[3]))

    async def remove_customer(self, account: str, conversation: str, customer: str, left_at: int) -> Release:
        """Remove a customer who left; the last one to leave frees the person. `left_at` is in ms."""
        name = _name(account, conversation)
        reply = await self._run("leave", [name, customer, left_at, GONE], gone=(name, f"{name}|{customer}"))
        return _release(reply)

    async def close(self, account: str, conversation: str) -> Release:
        """Remove a closed conversation and free its person; closing is final."""
        name = _name(account, conversation)
        return _release(await self._run("close", [name, GONE], gone=(name,)))

    async def assign_waiting(self) -> int:
        """Assign waiting conversations as far as there is capacity; returns how many were assigned."""
        return int((await self._run("place", []))[1])

    async def claim_pending_joins(self, limit: int) -> list[AssignmentRecord]:
        """Return conversations whose person is to join now; this process has LEASE seconds for them."""
        return _records(await self._run("due", [limit, LEASE * 1000]))

    async def mark_joined(self, account: str, conversation: str, agent: str) -> None:
        """End the pending join of a conversation: its person has joined."""
        await self._run("settled", [_name(account, conversation), agent])

    async def claim_unconfirmed(self, limit: int, age: int) -> list[AssignmentRecord]:
        """Return conversations last confirmed to be open `age` seconds ago or earlier, and mark them as confirmed."""
        return _records(await self._run("stale", [limit, age * 1000]))

    async def _run(self, operation: str, args: list[Any], *, gone: tuple[str, ...] = ()) -> list[Any]:
        kinds = ("conversations", "load", "waiting", "joining", "checked")
        keys = [*(self._keys.roster(kind) for kind in kinds), *(self._keys.gone(name) for name in gone)]
        reply: list[Any] = await load_script("roster").run(
            self._redis, keys, [operation, self._clock(), self._roster, *args]
        )
        return reply


def _name(account: str, conversation: str) -> str:
    return f"{account}|{conversation}"


def _records(reply: list[Any]) -> list[AssignmentRecord]:
    return [AssignmentRecord.model_validate_json(text) for text in reply]


def _release(reply: list[Any]) -> Release:
    outcome, *rest = reply
    agent = rest[0].decode() if rest else ""
    return Release(ReleaseOutcome(outcome.decode()), agent or None, int(rest[1]) if rest[1:] else 0)
