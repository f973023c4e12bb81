"""Previews of replays: what would become of a dead letter's entry, without doing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from router.agents.effects import Effects
from router.core.entries import read_entry
from router.core.errors import RouterError
from router.core.printable import masked
from router.core.resources import ConversationStatus
from router.core.routing.commands import read_command
from router.inbound.sources import normalize
from router.operations.dead_letters import NOT_OURS, can_replay
from router.streams.delivery import Delivery, StreamRef
from router.streams.store.dead_letters import reason_of
from router.streams.store.inspect import is_group_read, list_groups
from router.streams.store.shared_bodies import SharedBodies
from router.worker.work import inbound_reader

if TYPE_CHECKING:
    from router.operations.dead_letters import LetterView
    from router.settings.model import Settings
    from router.streams.client.connection import Redis


@dataclass(frozen=True, slots=True)
class Taker:
    """A group that would be given the entry. `earlier`: how it had finished the entry before, None if it had not."""

    group: str
    is_running: bool
    earlier: str | None = None

    @property
    def text(self) -> str:
        """The words for people about this group's part in the replay."""
        if self.earlier is not None:
            return f"{self.group} ignores it: it had finished it ({self.earlier})"
        return f"{self.group} handles it" if self.is_running else f"{self.group} gets it once a process of it runs"


@dataclass(frozen=True, slots=True)
class ReplayPreview:
    """The effect of a replay of a letter. `is_closed`: its conversation is over; None: nothing is known of it.

    `problem`: why whoever takes it would give it up again at once; empty if it can be read.
    """

    name: str
    can_replay: bool
    stream: str
    takers: tuple[Taker, ...] = ()
    is_closed: bool | None = None
    problem: str = ""

    @property
    def text(self) -> str:
        """The preview in one line."""
        if not self.can_replay:
            return NOT_OURS
        takers = "; ".join(taker.text for taker in self.takers) or "no group reads that stream: start a consumer"
        closed = "; its conversation is closed" if self.is_closed else ""
        problem = f"; it would be given up again: {self.problem}" if self.problem else ""
        return f"goes back on {self.stream}: {takers}{closed}{problem}"

    @property
    def kind(self) -> str:
        """The sum of previews that differ in their streams, groups and problems."""
        if not self.can_replay:
            return NOT_OURS
        return "would be given up again" if self.problem else "goes back on its stream"

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
            "problem": self.problem,
            "text": self.text,
        }


class LetterPreviews:
    """Previews many letters; what it learns of groups is remembered."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._keys = settings.keys
        self._sealer = settings.sealer
        self._bodies = SharedBodies(redis, settings.keys)
        self._groups: dict[str, dict[str, bool]] = {}

    async def preview(self, view: LetterView) -> ReplayPreview:
        """Return the effect that a replay of a letter would have; raises RedisError."""
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
            problem=masked(await self._problem(view), has_ids=False),
        )

    async def _problem(self, view: LetterView) -> str:
        """Return why an entry cannot be read, empty if it can be."""
        letter = view.letter
        delivery = Delivery(StreamRef(letter.partition, letter.stream), letter.entry_id, letter.fields)
        bodies = await self._bodies.read([delivery])
        try:
            if letter.stream == self._keys.inbound(letter.partition):
                normalize(inbound_reader(self._sealer)(delivery, bodies))
            elif letter.stream == self._keys.commands(letter.partition):
                read_command(letter.fields, self._sealer)
            else:
                read_entry(letter.fields.get(b"event", b""), self._sealer)
        except ValidationError:
            return "it is no entry of ours"
        except RouterError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - a parser's mistake, as the one that may have made this letter
            return reason_of(error)
        return ""

    async def _running(self, stream: str) -> dict[str, bool]:
        """Return the groups of a stream, and whether a process of each runs."""
        if stream not in self._groups:
            names = await list_groups(self._redis, stream)
            self._groups[stream] = {name: await is_group_read(self._redis, self._keys, stream, name) for name in names}
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
