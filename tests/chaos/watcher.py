"""Follows the participants streams through every outage, so that scenarios can wait for entries."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson

from router.core.addresses import Address
from router.core.keys import Keys, Target
from router.streams.client.connection import RedisError, connect
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.scenario import Customer
    from tests.chaos.timeline import Timeline

_PAUSE: Final = 0.2
#: Types of entries that are counted.
JOINED, LEFT, CLOSED, RECEIVED = (
    "participant.joined",
    "participant.left",
    "conversation.closed",
    "communication.received",
)
REQUESTED, MADE, ENDED, CHANGED, FAILED = (
    "handoff.requested",
    "offer.made",
    "offer.ended",
    "holder.changed",
    "handoff.failed",
)


@dataclass
class Seen:
    """The entries about one customer so far, by type and by id, and its current conversation."""

    entries: Counter[str] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)
    conversation: str = ""
    participant: str = ""
    #: Who holds the current conversation, as far as that has changed: the target, the person, and the epoch.
    target: str = ""
    agent: str = ""
    epoch: int = 0


class Watcher:
    """`seen` has what was published about each customer, by the key of its address; `entries` counts all."""

    def __init__(self, url: str, timeline: Timeline) -> None:
        self.seen: defaultdict[str, Seen] = defaultdict(Seen)
        self.entries = 0
        self._redis = connect(url, timeout=scaled(20))
        self._timeline = timeline
        self._position = {Keys().participants(0, target): "0-0" for target in Target}
        self._owners: dict[str, str] = {}
        self._news = asyncio.Event()

    async def follow(self) -> None:
        """Read until canceled; after an outage of Redis reading goes on where it had stopped."""
        try:
            while True:
                try:
                    await self._read()
                except (RedisError, OSError):
                    await self._timeline.pause(_PAUSE)
        finally:
            await self._redis.aclose()

    async def _read(self) -> None:
        rows = await self._redis.xread(dict(self._position), count=500, block=500)
        for stream, entries in rows or ():
            for entry_id, fields in entries:
                self._note(orjson.loads(fields[b"event"]))
                self._position[stream.decode()] = entry_id.decode()
        if rows:
            self._news.set()
            self._news = asyncio.Event()

    def _note(self, event: dict) -> None:
        data, conversation = event["data"], event["data"]["conversation"]["id"]
        self.entries += 1
        if event["type"] == CLOSED:
            self.seen[self._owners.get(conversation, "")].entries[CLOSED] += 1
            return
        if "channel" not in data:
            self._note_floor(event["type"], data, self.seen[self._owners.get(conversation, "")])
            return
        key = Address(data["channel"], data["address"]).key
        seen = self.seen[key]
        seen.entries[event["type"]] += 1
        seen.ids.append(event["id"])
        self._owners[conversation] = key
        if conversation != seen.conversation:
            seen.target, seen.agent, seen.epoch = "", "", 0
        seen.conversation, seen.participant = conversation, data["participant"]["id"]

    def _note_floor(self, kind: str, data: dict, seen: Seen) -> None:
        """Note what was told of a holder: both streams tell it, and each may be read first."""
        is_newer = kind == CHANGED and data["epoch"] > seen.epoch
        if is_newer and data["conversation"]["id"] == seen.conversation:
            seen.target, seen.agent, seen.epoch = data["to"]["target"], data["to"]["agent"] or "", data["epoch"]

    async def until(self, customer: Customer, is_true: Callable[[Seen], bool]) -> Seen:
        """Wait until `is_true` of what was published about a customer."""
        seen = self.seen[customer.address.key]
        while not is_true(seen):
            await self._news.wait()
        return seen
