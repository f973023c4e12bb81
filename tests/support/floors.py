"""The floors of all conversations as Redis has them: what the ledgers say, and whether the desk agrees with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from router.core.keys import Target
from router.core.routing.holding import read_holding
from router.core.routing.transitions import FOREIGN
from tests.support.keys import kind_of

if TYPE_CHECKING:
    from router.core.keys import Keys
    from router.core.routing.holding import Holding
    from router.streams.client.connection import Redis


class DeskState(NamedTuple):
    """Conversations ("account conversation") by the agent who holds or is asked, those that wait, and agents' loads."""

    held: dict[str, str]
    asked: dict[str, str]
    waiting: set[str]
    loads: dict[str, int]
    #: The conversations that each agent's load is made of.
    places: dict[str, set[str]]


async def read_holdings(redis: Redis, keys: Keys) -> dict[str, Holding]:
    """Return the floors that the ledgers say, by "account conversation"."""
    found = {}
    async for key in redis.scan_iter(f"{keys.namespace}:*", count=1000):
        if kind_of(name := key.decode()) != "conversation":
            continue
        text: Any = await redis.hget(name, "holding")
        if text is not None:
            account_id, _, conversation_id = name.partition(":conversation:")[2].partition(":")
            found[f"{account_id} {conversation_id}"] = read_holding(text.decode())
    return found


async def read_desk(redis: Redis, keys: Keys) -> DeskState:
    """Return what the desk says."""

    async def read(kind: str) -> dict[str, str]:
        found: Any = await redis.hgetall(keys.desk(kind))
        return {name.decode(): value.decode() for name, value in found.items()}

    agents = {name: orjson.loads(text) for name, text in (await read("agents")).items()}
    return DeskState(
        await read("held"),
        await read("asked"),
        {*await read("needs")},
        {name: int(agent["load"]) for name, agent in agents.items()},
        {name: {*agent["has"]} for name, agent in agents.items()},
    )


def expected_desk(holdings: dict[str, Holding]) -> DeskState:
    """Return what the desk must say of those who are present (`loads` in conversations, of one unit each)."""
    held, asked, waiting = {}, {}, set()
    for name, one in holdings.items():
        agent = one.holder.agent
        if one.is_closed:
            continue
        if one.holder.target == Target.HUMAN_AGENT and agent is not None and not agent.startswith(FOREIGN):
            held[name] = agent
        if one.offer is not None:
            asked[name] = one.offer.agent
        elif one.request is not None:
            waiting.add(name)
    places: dict[str, set[str]] = {}
    for taken in (held, asked):
        for name, agent in taken.items():
            places.setdefault(agent, set()).add(name)
    return DeskState(held, asked, waiting, {agent: len(names) for agent, names in places.items()}, places)


async def disagreements(redis: Redis, keys: Keys) -> list[str]:
    """Return where the desk and the ledgers disagree; conversations take one unit each."""
    desk, expected = await read_desk(redis, keys), expected_desk(await read_holdings(redis, keys))
    loads = {agent: load for agent, load in desk.loads.items() if load}
    places = {agent: names for agent, names in desk.places.items() if names}
    found = desk._replace(loads=loads, places=places)
    return [
        f"{name}: desk {ours!r}, ledgers {theirs!r}"
        for name, ours, theirs in zip(DeskState._fields, found, expected, strict=True)
        if ours != theirs
    ]
