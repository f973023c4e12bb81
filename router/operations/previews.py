"""Previews of replays: what would become of a dead letter's entry, without doing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from router.agents.effects import Effects
from router.core.resources import ConversationStatus
from router.operations.dead_letters import can_replay
from router.streams.store.inspect import has_consumer, list_groups

if TYPE_CHECKING:
    from router.core.keys import Keys
    from router.operations.dead_letters import LetterView
    from router.streams.client.connection import Redis


@dataclass(frozen=True, slots=True)
class Taker:
    """A group that would be given the entry. `earlier`: how it had finished the entry before, None if it had not."""

    group: str
    is_running: bool
    earlier: str | None = None

    @property
    def text(self) -> str:
        """What the group would do."""
        if self.earlier is not None:
            return f"{self.group} ignores it: it had finished it ({self.earlier})"
        return f"{self.group} handles it" if self.is_running else f"{self.group} gets it once a process of it runs"


@dataclass(frozen=True, slots=True)
class ReplayPreview:
    """What a replay of a letter would do. `is_closed`: its conversation is over; None: nothing is known of it."""

    name: str
    can_replay: bool
    stream: str
    takers: tuple[Taker, ...] = ()
    is_closed: bool | None = None

    @property
    def text(self) -> str:
        """The preview in one line."""
        if not self.can_replay:
            return "cannot be replayed: it does not say which of our streams it is from"
        takers = "; ".join(taker.text for taker in self.takers) or "no group reads that stream: start a consumer"
        closed = "; its conversation is closed" if self.is_closed else ""
        return f"goes back on {self.stream}: {takers}{closed}"

    def to_json(self) -> dict[str, Any]:
        """Return the preview for programs."""
        takers = [
            {"group": one.group, "is_running": one.is_running, "earlier": one.earlier, "text": one.text}
            for one in self.takers
        ]
        return {
            "id": self.name,
            "can_replay": self.can_replay,
            "stream": self.stream,
            "takers": takers,
            "is_closed": self.is_closed,
            "text": self.text,
        }


class LetterPreviews:
    """Previews many letters; what it learns of groups is remembered."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._groups: dict[str, dict[str, bool]] = {}

    async def preview(self, view: LetterView) -> ReplayPreview:
        """Return what a replay of a letter would do; raises RedisError."""
        letter = view.letter
        if not can_replay(self._keys, letter):
            return ReplayPreview(letter.name, can_replay=False, stream=letter.stream)
        takers = [
            Taker(group, is_running, await self._earlier(view, group))
            for group, is_running in (await self._running(letter.stream)).items()
        ]
        return ReplayPreview(
            letter.name,
            can_replay=True,
            stream=letter.stream,
            takers=tuple(takers),
            is_closed=await self._is_closed(view),
        )

    async def _running(self, stream: str) -> dict[str, bool]:
        """Return the groups of a stream, and whether a process of each runs."""
        if stream not in self._groups:
            names = await list_groups(self._redis, stream)
            self._groups[stream] = {name: await has_consumer(self._redis, self._keys, stream, name) for name in names}
        return self._groups[stream]

    async def _earlier(self, view: LetterView, group: str) -> str | None:
        """Return the outcome of an entry that a handler had finished."""
        if b"event" not in view.letter.fields or not view.facts.document_id:
            return None
        return await Effects(self._redis, self._keys, group).of(view.letter.partition, view.facts.document_id).outcome()

    async def _is_closed(self, view: LetterView) -> bool | None:
        facts = view.facts
        if not facts.account or not facts.conversation:
            return None
        name = self._keys.conversation(facts.account, facts.conversation)
        status: Any = await self._redis.hget(name, "status")
        return None if status is None else status == ConversationStatus.CLOSED.encode()
