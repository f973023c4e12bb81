"""The desk: which agents are present, how much room they have, and which conversations wait for one.

It is in partition 0. Each operation is one run of scripts/desk.lua, atomic and repeatable. The holder of a conversation
is decided in the conversation's own partition; the desk is then made to agree (`settle`), and repeats what it answered
until the conversation says otherwise, so a process that dies in between leaves nothing behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from router.core.routing.choice import AgentState
from router.streams.client.scripts import load_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from router.core.keys import Keys
    from router.core.routing.wishes import AgentCard, Wish
    from router.streams.client.connection import Redis

#: ms until another process handles what one took and did not finish.
LEASE: Final = 3000
#: Seconds for which the desk remembers who held a conversation of a customer last.
LAST_AGENT_LIFE: Final = 30 * 86_400
#: ms: longer than any process runs.
FOR_EVER: Final = 10 * 365 * 86_400_000


class Settled(NamedTuple):
    """The desk's answer: `agent` and `name` if one was found among `present`, `line` the place in line if it waits.

    `pace`: ms from one conversation of its queue that found an agent to the next, 0 if it is not known.

    `is_lost`: the agent who is asked has no room any more. `is_older`: a newer revision has settled before.
    """

    agent: str | None = None
    name: str = ""
    line: int = 0
    pace: int = 0
    present: int = 0
    is_lost: bool = False
    is_older: bool = False


class DueAtDesk(NamedTuple):
    """The work that is due at the desk: other processes get it after LEASE.

    `lapsed`: agents whose presence has ended, with their conversations; `placed`: conversations that got an agent and
    have made no offer yet; `next_at`: when more is due (ms since 1970), None: only what others bring about.
    """

    lapsed: dict[str, list[str]]
    placed: list[str]
    next_at: int | None


class DeskAgent(NamedTuple):
    """An agent with what only people want to see: the name, and the conversations that they have or are asked about."""

    state: AgentState
    name: str
    conversations: tuple[str, ...]


class DeskNeed(NamedTuple):
    """A waiting conversation: its queue, since when (ms since 1970), its priority, and the skills that it needs."""

    conversation: str
    queue: str
    since: int
    priority: int
    skills: tuple[str, ...]


class Desk:
    """The desk of one namespace. `clock` returns ms since 1970."""

    def __init__(self, redis: Redis, keys: Keys, *, clock: Callable[[], int]) -> None:
        self._redis = redis
        self._keys = keys
        self._clock = clock

    async def arrive(
        self, card: AgentCard, until: int, *, is_away: bool = False, sent_at: int | None = None, command_id: str = ""
    ) -> int:
        """Note an agent's presence until `until` (ms); returns the number of conversations that wait to be offered.

        What was sent (ms, now) before the agent's latest presence changes nothing, nor does one of their last commands.
        """
        shown, away = orjson.dumps(_show_card(card)), "1" if is_away else ""
        sent = self._clock() if sent_at is None else sent_at
        return int(await self._run("present", card.identity, sent, command_id, shown, until, away))

    async def enroll(self, cards: Iterable[AgentCard]) -> int:
        """Note people who tell no presence, and get what queues assign without asking; replaces those noted before.

        Returns the number of conversations that wait to be offered.
        """
        listed = orjson.dumps([_show_card(card) for card in cards])
        return int(await self._run("enroll", listed, self._clock() + FOR_EVER))

    async def keep(self, identity: str, until: int) -> bool:
        """Extend the presence of an agent who is no longer listed, and has conversations; returns whether they have."""
        return bool(await self._run("keep", identity, until))

    async def leave(self, identity: str, *, sent_at: int | None = None, command_id: str = "") -> None:
        """End an agent's presence, unless it was told after `sent_at` (ms, now), or by the same command before."""
        sent = self._clock() if sent_at is None else sent_at
        await self._run("leave", identity, sent, command_id)

    async def settle(self, conversation: str, revision: int, wish: Wish) -> Settled:
        """Make the desk agree with a conversation at a revision of its ledger."""
        reply = await self._run("settle", conversation, revision, orjson.dumps(_show(wish)))
        match reply[0].decode():
            case "placed":
                return Settled(reply[1].decode(), reply[2].decode(), present=int(reply[3]))
            case "waiting":
                return Settled(line=int(reply[1]), pace=int(reply[2]))
            case "lost":
                return Settled(is_lost=True)
            case "older":
                return Settled(is_older=True)
        return Settled()

    async def last_agent(self, conversation: str, customer: Sequence[str]) -> str | None:
        """Return who held a conversation of a customer last (Wish.customer), None if nobody did for LAST_AGENT_LIFE."""
        last = await self._run("last", conversation, *customer)
        return last.decode() if last else None

    async def round(self, limit: int) -> DueAtDesk:
        """Make agents free whose wrap-up is over, and take what else is due, up to `limit` of each kind."""
        rows, placed, due = await self._run("round", limit, LEASE)
        lapsed = {row[0].decode(): sorted(one.decode() for one in row[1:]) for row in rows}
        return DueAtDesk(lapsed, [one.decode() for one in placed], int(due) if due else None)

    async def look(self, most: int = 0) -> tuple[tuple[AgentState, ...], dict[str, str]]:
        """Return all agents, and the queue of each waiting conversation.

        With `most` only agents, and none if they are more than that.
        """
        agents, needs = await self._run("look", most)
        states = [_read_agent(identity.decode(), orjson.loads(text)) for identity, text in _pairs(agents)]
        return tuple(states), {name.decode(): str(orjson.loads(text)["queue"]) for name, text in _pairs(needs)}

    async def survey(self) -> tuple[list[DeskAgent], list[DeskNeed]]:
        """Return all agents and all waiting conversations, for people."""
        agents, needs = await self._run("look", 0)
        return (
            [_read_card(identity.decode(), orjson.loads(text)) for identity, text in _pairs(agents)],
            [_read_need(name.decode(), orjson.loads(text)) for name, text in _pairs(needs)],
        )

    async def find(self, identity: str) -> DeskAgent | None:
        """Return one agent, for people; None if the desk does not know them."""
        return (await self.find_all([identity])).get(identity)

    async def find_all(self, identities: Sequence[str]) -> dict[str, DeskAgent]:
        """Return those of these agents whom the desk knows, for people."""
        if not identities:
            return {}
        texts: Any = await self._redis.hmget(self._keys.desk("agents"), identities)
        rows = zip(identities, texts, strict=True)
        return {identity: _read_card(identity, orjson.loads(text)) for identity, text in rows if text is not None}

    async def _run(self, operation: str, *args: Any) -> Any:
        keys = [self._keys.desk(), self._keys.fence(0)]
        return await load_script("desk").run(
            self._redis, keys, [self._keys.partitions, operation, self._clock(), *args]
        )


def _pairs(flat: list[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _show_card(card: AgentCard) -> dict[str, Any]:
    return {
        "identity": card.identity,
        "name": card.name,
        "capacity": card.capacity,
        "skills": card.skills,
        "channels": card.channels,
        "wrap": int(card.wrap_up * 1000),
    }


def _show(wish: Wish) -> dict[str, Any]:
    need = wish.need
    shown: dict[str, Any] = {
        "holder": wish.holder,
        "asked": wish.asked,
        "units": wish.units or 0,
        "is_over": wish.is_over,
        "customer": wish.customer,
        "life": LAST_AGENT_LIFE,
    }
    if need is not None:
        shown["need"] = {
            "queue": wish.queue,
            "skills": sorted(need.skills),
            "channel": need.channel,
            "units": need.units or 0,
            "priority": need.priority,
            "since": need.since,
            "agent": need.agent,
            "last": need.last_agent,
            "excluded": sorted(need.excluded),
            "missed": sorted(need.missed),
            "automatic": need.is_automatic,
        }
    return {name: one for name, one in shown.items() if one is not None}


def _read_agent(identity: str, stored: dict[str, Any]) -> AgentState:
    channels = stored.get("channels")
    return AgentState(
        identity,
        int(stored["capacity"]),
        frozenset(stored["skills"]),
        None if channels is None else frozenset(channels),
        load=int(stored["load"]),
        idle_since=int(stored["idle"]),
        present_until=int(stored["till"]),
        is_away=bool(stored["away"]),
        free_at=int(stored["free"]),
        is_enrolled=bool(stored.get("enrolled")),
    )


def _read_card(identity: str, stored: dict[str, Any]) -> DeskAgent:
    return DeskAgent(_read_agent(identity, stored), str(stored.get("name", identity)), tuple(stored.get("has") or ()))


def _read_need(conversation: str, stored: dict[str, Any]) -> DeskNeed:
    return DeskNeed(
        conversation,
        str(stored["queue"]),
        int(stored["since"]),
        int(stored["priority"]),
        tuple(stored.get("skills") or ()),
    )
