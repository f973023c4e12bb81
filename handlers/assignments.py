"""The books of the roster in Redis: one agent per conversation, capacities kept, nobody who waits forgotten.

Every operation is one run of scripts/roster.lua, atomic and repeatable; all keys lie in partition 0. Each may free or
fill places, so each gives waiting conversations to who has room, the longest waiting first. A conversation that got an
agent stays in `joining` until the agent has joined: whoever finds it there after its lease may do that.

Entries of one conversation may reach two processes, so that what ends a stay can come before what began it: for GONE
seconds a closed conversation and a customer who left are remembered, and an older entry changes nothing. Known gap:
later than that it would.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from pydantic import BaseModel, ConfigDict

from handlers.effects import load_script
from handlers.roster import Card, card_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from handlers.roster import Roster
    from router.core.keys import Keys
    from router.streams.client.connection import Redis

#: Seconds that whoever took a joining on has for it, before somebody else may.
LEASE: Final = 30
#: Seconds: how long it is remembered that a conversation closed or a customer left.
GONE: Final = 86_400


class Record(BaseModel):
    """What the books hold of a conversation; `customers` maps participant id to channel."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    account: str
    conversation: str
    customers: dict[str, str] = {}
    agent: str | None = None
    card: str | None = None

    @property
    def who(self) -> Card | None:
        """The assigned agent."""
        return Card.model_validate_json(self.card) if self.card else None


@dataclass(frozen=True, slots=True)
class Entered:
    """What came of a customer's joining: `word` is assigned (with `card`), waiting, closed or left.

    `placed` conversations, perhaps this one, got an agent by it.
    """

    word: str
    placed: int = 0
    card: Card | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """What came of a leaving: `word` is released, kept (other customers are there) or unknown; `agent` is who had it.

    `placed` conversations got an agent by it.
    """

    word: str
    agent: str | None = None
    placed: int = 0


class Assignments:
    """The books of one namespace. `clock` gives ms since 1970."""

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
                {"identity": one.identity, "capacity": one.capacity, "card": card_of(one).model_dump_json()}
                for one in roster.agents
            ]
        )

    async def enter(self, account: str, conversation: str, customer: str, channel: str, entered_at: int) -> Entered:
        """Note a customer; the conversation gets an agent, keeps the one it has, or waits. `entered_at` is in ms."""
        name = _name(account, conversation)
        record = orjson.dumps({"account": account, "conversation": conversation, "customers": {}})
        args = [name, record, customer, channel, entered_at, LEASE * 1000]
        reply = await self._run("enter", args, gone=(name, f"{name}|{customer}"))
        word, placed, card = reply[0].decode(), int(reply[1]) if len(reply) > 1 else 0, None
        if word == "assigned":
            card = Card.model_validate_json(reply[3])
        return Entered(word, placed, card)

    async def leave(self, account: str, conversation: str, customer: str, left_at: int) -> Released:
        """Note that a customer left; the last one to leave frees the agent. `left_at` is in ms."""
        name = _name(account, conversation)
        reply = await self._run("leave", [name, customer, left_at, GONE], gone=(name, f"{name}|{customer}"))
        return _released(reply)

    async def close(self, account: str, conversation: str) -> Released:
        """Note that a conversation closed, which is final; frees its agent."""
        name = _name(account, conversation)
        return _released(await self._run("close", [name, GONE], gone=(name,)))

    async def place(self) -> int:
        """Give agents to who waits, as far as there is room; returns how many got one."""
        return int((await self._run("place", []))[1])

    async def take_due(self, limit: int) -> list[Record]:
        """Return conversations whose agent shall join now; they are ours for LEASE."""
        return _records(await self._run("due", [limit, LEASE * 1000]))

    async def settle(self, account: str, conversation: str, agent: str) -> None:
        """Note that the agent has joined."""
        await self._run("settled", [_name(account, conversation), agent])

    async def take_stale(self, limit: int, age: int) -> list[Record]:
        """Return conversations that were confirmed open `age` seconds ago or earlier; they count as confirmed now."""
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


def _records(reply: list[Any]) -> list[Record]:
    return [Record.model_validate_json(text) for text in reply]


def _released(reply: list[Any]) -> Released:
    agent = reply[1].decode() if len(reply) > 1 else ""
    return Released(reply[0].decode(), agent or None, int(reply[2]) if len(reply) > 2 else 0)  # noqa: PLR2004 # see roster.lua
