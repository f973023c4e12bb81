"""A floor beside the handlers' harness: the worker's commander and deadlines, and an AI agent that reads its stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from router.core.addresses import Address
from router.core.entries import read_entry
from router.core.keys import Target
from router.core.policy import Decision
from router.streams.delivery import Delivery, Done, StreamRef
from tests.core.builders import make_fact
from tests.handlers.harness import HandlerHarness, Open, delivery_of
from tests.support.accounts import ACCOUNT, OURS
from tests.worker.floor_place import Place

if TYPE_CHECKING:
    from handlers.consume import Consumption
    from router.core.entries import Entry


class Floor:
    """The floor of one conversation of the sandbox, with a worker whose clock the test sets."""

    def __init__(self, harness: HandlerHarness, opened: Open) -> None:
        self.harness, self.opened = harness, opened
        self.place = Place(harness.redis, harness.keys)
        self._read: dict[str, bytes] = {}

    async def announce(self, target: Target = Target.AI_AGENT) -> None:
        """Announce the customer; `target` holds."""
        ledger = self.place.store.make_ledger(ACCOUNT, self.opened.id)
        decision, ours = Decision(target, "a rule"), Address("SMS", OURS)
        fact = make_fact(self.opened.customer, 1, decision=decision, cause=self.place.cause(), recipient=ours)
        ledger.note_recipient(ours)
        ledger.take_participant(fact)
        assert await self.place.store.commit([ledger]) == [True]

    async def _new(self, stream: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        rows = await self.harness.redis.xrange(stream, min=b"(" + self._read.get(stream, b"0-0"))
        if rows:
            self._read[stream] = rows[-1][0]
        return list(rows)

    async def commands(self) -> list[dict[bytes, bytes]]:
        """Let the worker take the commands that handlers have written since the last call, and return them."""
        stream = self.harness.keys.commands(0)
        taken = await self._new(stream)
        for entry_id, fields in taken:
            delivery = Delivery(StreamRef(0, stream), entry_id.decode(), fields)
            assert await self.place.commander.attempt(delivery) == Done()
        return [fields for _, fields in taken]

    async def heard(self, target: Target = Target.AI_AGENT) -> list[Entry]:
        """Return what was published for a target since the last call."""
        rows = await self._new(self.harness.keys.participants(0, target))
        return [read_entry(fields[b"event"]) for _, fields in rows]

    async def give(self, agent: Consumption) -> list[Entry]:
        """Let the AI agent take what was published for it since the last call, and return that."""
        entries = await self.heard()
        for entry in entries:
            await take(agent, entry)
        return entries

    async def send(self, kind: str, **data: Any) -> None:
        """Send a command of a person or program."""
        await self.place.send(kind, **data)

    async def accept(self, agent: str = "dana") -> int:
        """Let a person become available and accept; returns the epoch."""
        await self.send("agent.available", agent=agent)
        await self.place.loop.round()
        made = (await self.place.told(Target.HUMAN_AGENT, "offer.made"))[-1].data
        await self.send("offer.accept", offer=made.offer.id, agent=agent)
        changed = (await self.place.told(Target.HUMAN_AGENT, "holder.changed"))[-1].data
        assert changed.to.agent == agent
        return int(changed.epoch)

    async def release(self, epoch: int, agent: str = "dana", **more: Any) -> None:
        """Let the person give the conversation back."""
        await self.send("conversation.release", conversation=self.opened.id, agent=agent, epoch=epoch, **more)


async def take(agent: Consumption, entry: Entry) -> None:
    """Let an agent handle an entry, which must be done then."""
    assert await agent.attempt(delivery_of(entry)) == Done()
