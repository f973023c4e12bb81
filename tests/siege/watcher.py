"""Follows the participants streams: which message was published when, in which conversation, and how often."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.core.keys import Keys, Target
from router.streams.client.connection import RedisError, connect
from tests.support.waiting import deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

#: Partitions that are followed: more than any run uses.
PARTITIONS: Final = 8
_PAUSE: Final = 0.2
_BLOCK: Final = 500


class Watcher:
    """What was published so far. An entry that a repartition moves keeps its id, and counts once.

    `heard`: the conversations in which each message (its MessageSid or Message-ID) was published, in order; `at`: when
    it was first readable, in seconds since 1970 by the server's clock; `joined`: the conversations in which each
    address was announced, in order; `closed`: how often each conversation was reported as closed.
    """

    def __init__(self, url: str) -> None:
        self.heard: defaultdict[str, list[str]] = defaultdict(list)
        self.at: dict[str, float] = {}
        self.joined: defaultdict[str, list[str]] = defaultdict(list)
        self.closed: Counter[str] = Counter()
        self._places: defaultdict[str, list[tuple[int, int, str]]] = defaultdict(list)
        self._ids: set[str] = set()
        self._redis = connect(url, timeout=30)
        self._position = {
            Keys().participants(partition, target): "0-0" for partition in range(PARTITIONS) for target in Target
        }
        self._news = asyncio.Event()

    async def follow(self) -> None:
        """Read until canceled; an outage of the server ends nothing."""
        try:
            while True:
                try:
                    await self._read()
                except (RedisError, OSError):
                    await asyncio.sleep(_PAUSE)
        finally:
            await self._redis.aclose()

    async def _read(self) -> None:
        rows: Any = await self._redis.xread(dict(self._position), count=1000, block=_BLOCK)
        for stream, entries in rows or ():
            for entry_id, fields in entries:
                self._note(entry_id, orjson.loads(fields[b"event"]))
                self._position[stream.decode()] = entry_id.decode()
        if rows:
            self._news.set()
            self._news = asyncio.Event()

    def _note(self, entry_id: bytes, event: dict[str, Any]) -> None:
        if event["id"] in self._ids:
            return
        self._ids.add(event["id"])
        data, kind = event["data"], event["type"]
        conversation = data["conversation"]["id"]
        millis, number = map(int, entry_id.split(b"-"))
        if kind == "conversation.closed":
            self.closed[conversation] += 1
        elif kind == "participant.joined":
            self.joined[data["address"]].append(conversation)
        elif kind == "communication.received" and (message := data["communication"]["channel_id"]):
            self.heard[message].append(conversation)
            self.at.setdefault(message, millis / 1000)
            self._places[data["address"]].append((millis, number, message))

    def order_of(self, address: str) -> list[str]:
        """Return the messages of an address in the order of their entries, whatever streams these are in."""
        return [message for _, _, message in sorted(self._places[address])]

    async def until(self, is_so: Callable[[], object], seconds: float) -> bool:
        """Wait until something is true of what was published; returns False after so many scaled seconds."""
        try:
            async with deadline(seconds):
                while not is_so():
                    await self._news.wait()
        except TimeoutError:
            return bool(is_so())
        return True

    async def until_heard(self, messages: Collection[str], seconds: float) -> bool:
        """Wait until each of these messages was published."""
        missing = set(messages)

        def is_heard() -> bool:
            missing.difference_update([one for one in missing if one in self.heard])
            return not missing

        return await self.until(is_heard, seconds)
