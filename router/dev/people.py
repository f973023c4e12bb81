"""The people of the demo: people of the roster who are simulated while the sample events play.

They do by commands what anybody can do (docs/handoff.md): become available, accept what they are offered of this run,
write, give back with a note, finish. They go offline at the end, so that whoever tries by hand has the offers.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from router.core.entries import (
    ClosedData,
    CommandRefusedData,
    CommunicationData,
    EntryData,
    HandoffFailedData,
    HolderChangedData,
    JoinedData,
    OfferMadeData,
)
from router.core.keys import Target
from router.core.routing.commands import write_command
from router.core.sealing import NO_KEYS
from router.dev.happening import Happening, LineKind
from router.simulator.entry_text import is_told_twice

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.core.entries import Entry
    from router.core.keys import Keys
    from router.core.routing.team import Team, TeamMember
    from router.core.sealing import Sealer
    from router.streams.client.connection import Redis

#: The channel of the customers who get a person, and how many of them people must have room for at once.
_CHANNEL: Final = "SMS"
_CUSTOMERS: Final = 2
#: Seconds for which they are present, if the demo does not end before.
_LIFE: Final = 60
_NOTE: Final = "The refund is on its way. The customer may ask when it arrives."
_DataT = TypeVar("_DataT", bound=EntryData)


class DemoPeople:
    """The people of the roster who take the demo's customers; without enough capacity no handoff is shown.

    `say` is given what they do.
    """

    def __init__(
        self, redis: Redis, keys: Keys, team: Team, say: Callable[[Happening], None], sealer: Sealer = NO_KEYS
    ) -> None:
        self._sealer = sealer
        self._say = say
        self._redis = redis
        self._keys = keys
        members = [one for one in team.members.values() if one.channels is None or _CHANNEL in one.channels]
        units = team.units_of(_CHANNEL)
        room = sum(one.capacity // (units or one.capacity) for one in members)
        self._members: dict[str, TeamMember] = {one.identity: one for one in members} if room >= _CUSTOMERS else {}
        self._is_present = False
        self._told: dict[str, list[EntryData]] = {}  # by conversation
        self._news = asyncio.Condition()
        self._held: dict[str, HolderChangedData] = {}
        self._announced: set[str] = set()

    async def arrive(self) -> None:
        """Become available. Raises RedisError."""
        self._is_present = bool(self._members)
        for identity in self._members:
            await self._send(identity, "agent.available", agent=identity, life=_LIFE)

    async def take(self, entry: Entry) -> None:
        """React to an entry: accept an offer of this run's customers and decline others, greet who was given to us."""
        data = entry.data
        if not self._is_present or is_told_twice(entry):
            return
        if isinstance(data, JoinedData):
            self._announced.add(data.conversation.id)
        if isinstance(data, OfferMadeData) and data.agent.identity in self._members:
            is_ours = data.conversation.id in self._announced
            kind = "offer.accept" if is_ours else "offer.decline"
            await self._send(data.agent.identity, kind, data, offer=data.offer.id, agent=data.agent.identity)
        if isinstance(data, HolderChangedData):
            await self._note_holder(data)
        async with self._news:
            self._told.setdefault(data.conversation.id, []).append(data)
            self._news.notify_all()

    async def _note_holder(self, data: HolderChangedData) -> None:
        conversation_id = data.conversation.id
        known = self._held.get(conversation_id)
        if data.to.agent not in self._members:
            self._held.pop(conversation_id, None)
        elif known is None or known.epoch < data.epoch:
            self._held[conversation_id] = data
            name = self._members[data.to.agent].name
            await self._act(data, "conversation.say", text=f"Hello, this is {name}. How can I help?")

    async def _act(self, held: HolderChangedData, kind: str, **more: Any) -> None:
        """Send a command of the person who holds."""
        agent = str(held.to.agent)
        await self._send(agent, kind, held, conversation=held.conversation.id, agent=agent, epoch=held.epoch, **more)

    async def _send(self, who: str, kind: str, about: EntryData | None = None, **data: Any) -> None:
        """Write a command to its partition, and show it, unless its text is shown as what was said."""
        if about is not None:
            data["account"] = about.account_id
        partition = self._keys.partition_of(about.conversation.id) if about is not None else 0
        fields: dict[Any, Any] = write_command(
            kind, f"demo-{secrets.token_hex(8)}", data, source="/demo", sealer=self._sealer
        )
        if kind != "conversation.say":
            conversation_id = about.conversation.id if about is not None else ""
            self._note(who, f"sends {kind}", conversation_id)
        await self._redis.xadd(self._keys.commands(partition), fields)

    def _note(self, who: str, text: str, conversation_id: str = "") -> None:
        self._say(Happening(time.time_ns() // 1000, LineKind.NOTE, who, text, conversation=conversation_id))

    async def show_handoff(self, joined: JoinedData, write_again: Callable[[], Awaitable[Any]]) -> bool:
        """Play one handoff there and back; True if it came back to the AI agent, and nobody was left out.

        `joined` is the customer's; `write_again` lets the customer write once more.
        """
        if not self._members or joined.target != Target.AI_AGENT:
            self._note("demo", "no handoff: it needs a customer of the AI agent, and people with room for two of them")
            return True
        conversation_id = joined.conversation.id
        await self._send(
            "ai-agent",
            "handoff.request",
            joined,
            conversation=conversation_id,
            reason="the customer wants a refund",
            summary="Wants a refund for order 4711, which has arrived broken.",
            context={"order": "4711"},
        )
        taken = await self._until(
            conversation_id, lambda: self._held.get(conversation_id) or self._find(conversation_id, *_ENDS)
        )
        if not isinstance(taken, HolderChangedData):
            return isinstance(taken, HandoffFailedData)  # a queue of the user's that is closed now, for example
        await self._act(taken, "conversation.release", note=_NOTE)
        await self._until(conversation_id, partial(self._find_after, conversation_id, HolderChangedData, taken.epoch))
        await write_again()
        heard = await self._until(
            conversation_id, partial(self._find_after, conversation_id, CommunicationData, taken.epoch)
        )
        return heard.target == Target.AI_AGENT

    async def leave(self) -> None:
        """Finish the conversations that are still held, and go offline."""
        held = list(self._held.values())
        for one in held:
            await self._act(one, "conversation.finish")
        for one in held:
            await self._until(one.conversation.id, partial(self._find, one.conversation.id, ClosedData))
        self._is_present = False
        for identity in self._members:
            await self._send(identity, "agent.offline", agent=identity)

    async def _until(self, conversation_id: str, find: Callable[[], _DataT | None]) -> _DataT:
        """Wait until an entry of a conversation has come; the caller limits the time."""
        async with self._news:
            while conversation_id not in self._told or (found := find()) is None:
                await self._news.wait()
            return found

    def _find(self, conversation_id: str, *types: type[EntryData]) -> EntryData | None:
        return next((one for one in self._told[conversation_id] if isinstance(one, types)), None)

    def _find_after(self, conversation_id: str, kind: type[_DataT], epoch: int) -> _DataT | None:
        told = self._told[conversation_id]
        return next((one for one in told if isinstance(one, kind) and one.epoch > epoch), None)


_ENDS: Final = (HandoffFailedData, CommandRefusedData)
