"""Reads what a person sees at the desk: their offers and conversations, and one conversation with its transcript.

Which conversations concern a person is what the desk of the router says; who has each of them is what its ledger says.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from router.console.desk.news import LISTS
from router.console.roles import ConsoleError
from router.core.addresses import mask
from router.core.classic.members import is_classic
from router.core.formats import OtherFormatError
from router.core.ledger.floor import holding_of
from router.core.ledger.transcript import (
    events_of,
    merge,
    name_people,
    notes_of,
    published_lines,
    said_by_people,
    turns_of,
    with_those_who_left,
)
from router.core.routing.wishes import channel_of, own_agent
from router.core.sealing import TamperedError
from router.core.timestamps import to_text
from router.operations.decisions import find_ledger, read_journal
from router.operations.team import Presence, presence_of
from router.streams.client.connection import RedisError
from router.streams.client.error_replies import is_refusal
from router.streams.store.desk import Desk
from router.streams.store.ledgers import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from router.console.desk.news import Conversation, DeskNews
    from router.console.desk.transcripts import ApiReading, Transcripts
    from router.core.ledger.ledger import Ledger
    from router.core.ledger.transcript import TranscriptLine
    from router.core.routing.holding import Holding
    from router.core.routing.journal import JournalLine
    from router.core.routing.team import Team
    from router.settings.model import Settings
    from router.streams.client.connection import Redis
    from router.streams.store.desk import DeskAgent
    from router.streams.store.person_marks import PersonMarks

#: Lines of a transcript that are shown at first: the newest.
MAX_LINES: Final = 300
#: Data of another release, or sealed with a key that is not here; or changed since it was sealed.
_UNREADABLE: Final = (OtherFormatError, TamperedError)
_SECOND: Final = 1000


@dataclass(frozen=True, slots=True)
class OpenedConversation:
    """A conversation that somebody has opened: its ledger, who has it, and the decisions about it."""

    ledger: Ledger
    holding: Holding
    journal: tuple[JournalLine, ...]

    @property
    def name(self) -> Conversation:
        """The account and the id."""
        return self.ledger.account_id, self.ledger.conversation_id

    def concerns(self, identity: str) -> bool:
        """Return whether a person has the conversation, is asked about it, or has had it."""
        holding = self.holding
        offered = holding.offer.agent if holding.offer else None
        had = {line.agent for line in self.journal}
        return identity in {own_agent(holding), offered, holding.last_agent} | had


class DeskReader:
    """Reads for all people of one console. `clock` returns µs since 1970."""

    def __init__(
        self,
        redis: Redis,
        settings: Settings,
        *,
        team: Team,
        news: DeskNews,
        marks: PersonMarks,
        transcripts: Transcripts,
        clock: Callable[[], int],
    ) -> None:
        self._redis = redis
        self._settings = settings
        self._team = team
        self._people = {one.identity: one.name for one in team.members.values()}
        self._news = news
        self._marks = marks
        self._transcripts = transcripts
        self._clock = clock
        self._store = Store(redis, settings.keys, marker_ttl=settings.marker_ttl, sealer=settings.sealer)
        self._desk = Desk(redis, settings.keys, clock=lambda: clock() // _SECOND)

    async def read_own(self, identity: str, *, is_unmasked: bool) -> dict[str, Any]:
        """Return the offers to a person, the conversations that they have, and their presence.

        What cannot be read now is `unreadable`. Raises RedisError if partition 0 is away, or for what Redis refuses.
        """
        found = await self._desk.find(identity)
        names = [_name_of(one) for one in sorted(found.conversations)] if found else []
        is_away = bool(await self._marks.who_is_away([identity]))
        marks = await self._marks.read_marks(identity, map(_mark, names))
        now = self._clock() // _SECOND
        is_present = found is not None and found.state.present_until > now
        offers, conversations, unreadable = [], [], []
        for name in names:
            try:
                holding = holding_of(await self._store.read_whole(*name))
            except (*_UNREADABLE, RedisError, OSError) as error:
                if is_refusal(error):
                    raise
                unreadable.append({"id": name[1], "account": name[0]})
                continue
            if holding is None or holding.is_closed:
                continue
            shown = self._show(name, holding, is_unmasked=is_unmasked)
            if holding.offer is not None and holding.offer.agent == identity and holding.offer.expires_at > now:
                offers.append(shown | _show_offer(holding, now))
            if own_agent(holding) == identity:
                self._news.note_holder(name, identity)
                unread = self._news.recent(name).count_after(marks.get(_mark(name), 0))
                conversations.append(shown | self._show_held(holding, unread))
        return {
            "agent": {
                "identity": identity,
                "name": self._team.name_of(identity),
                "is_listed": identity in self._team.members,
                "presence": "offline" if not is_present else "away" if found and found.state.is_away else "available",
                "is_away": is_away,
            },
            "offers": sorted(offers, key=lambda one: str(one["expires_at"])),
            "conversations": conversations,
            "unreadable": unreadable,
        }

    async def read_others(self, identity: str) -> list[dict[str, Any]]:
        """Return everybody else in the roster, those first who can be asked now."""
        others = [one for one in self._team.members.values() if one.identity != identity]
        known, now = await self._desk.find_all([one.identity for one in others]), self._clock() // _SECOND
        found = [(one, _availability(known.get(one.identity), now)) for one in others]
        found.sort(key=lambda pair: pair[1] != Presence.AVAILABLE)
        return [{"identity": one.identity, "name": one.name, "availability": word} for one, word in found]

    def _show(self, name: Conversation, holding: Holding, *, is_unmasked: bool) -> dict[str, Any]:
        addresses = (holding.customer or {}).get("addresses") or [{}]
        address = str(addresses[0].get("address", ""))
        return {
            "id": name[1],
            "account": name[0],
            "channel": channel_of(holding),
            "address": address if is_unmasked else mask(address),
            "name": self._news.recent(name).name or (holding.customer or {}).get("name") or "",
            "epoch": holding.epoch,
        }

    def _show_held(self, holding: Holding, unread: int) -> dict[str, Any]:
        request, offer, taken = holding.request, holding.offer, holding.taken
        return {
            "unread": unread,
            "reason": taken.reason if taken else "",
            "queue": taken.queue if taken else "",
            "is_passed_on": request is not None,
            "asked": offer.name if offer else None,
        }

    async def find(self, conversation_id: str) -> OpenedConversation | None:
        """Return a conversation of a configured account, None if nothing is known of it, or nobody was announced.

        Raises ConsoleError if it cannot be read.
        """
        with _readable():
            ledger = await find_ledger(self._redis, self._store, self._settings, conversation_id)
            holding = holding_of(ledger) if ledger is not None else None
        if ledger is None or holding is None:
            return None
        journal, _ = await read_journal(self._redis, self._settings, ledger)
        return OpenedConversation(ledger, holding, journal)

    async def read_conversation(
        self, opened: OpenedConversation, identity: str, *, is_unmasked: bool, is_whole: bool = False
    ) -> dict[str, Any]:
        """Return a conversation with its transcript, all or the newest MAX_LINES of it, and note that it was read.

        Raises ConsoleError if it cannot be read.
        """
        name, holding = opened.name, opened.holding
        reading = await self._transcripts.read(name, self._news.changes_of(name))
        if own_agent(holding) == identity:
            await self._mark_read(name, identity)
        with _readable():
            markers = opened.ledger.markers()
        members = with_those_who_left(name_people(reading.members, self._people), markers)
        lines = self._lines(opened, reading)
        shown = lines if is_whole else lines[-MAX_LINES:]
        holder, request, offer = holding.holder, holding.request, holding.offer
        told = holding.taken or request
        return self._show(name, holding, is_unmasked=is_unmasked) | {
            "is_classic": is_classic(name[1]),
            "is_closed": holding.is_closed,
            "is_mine": own_agent(holding) == identity and not holding.is_closed,
            "holder": {"target": str(holder.target), "agent": holder.agent, "name": self._name_of(holder.agent)},
            "is_passed_on": request is not None,
            "asked": offer.name if offer else None,
            "reason": told.reason if told else "",
            "context": told.context if told else None,
            "members": [one.to_json(is_unmasked=is_unmasked) for one in members],
            "lines": [one.to_json(is_unmasked=is_unmasked) for one in shown],
            "left_out": len(lines) - len(shown),
            "problem": reading.problem,
        }

    async def _mark_read(self, name: Conversation, identity: str) -> None:
        """Note that a person has read a conversation; it stays unread while the marks' partition is away."""
        latest = self._news.recent(name).latest
        try:
            if latest and await self._marks.mark_read(identity, _mark(name), latest):
                self._news.ring_person(identity, LISTS)
        except (RedisError, OSError) as error:
            if is_refusal(error):
                raise

    def _lines(self, opened: OpenedConversation, reading: ApiReading) -> list[TranscriptLine]:
        holding, names = opened.holding, self._team.name_of
        published = published_lines((one for _, one in self._news.recent(opened.name).messages), reading.members)
        said = said_by_people(reading.lines, turns_of(opened.journal), self._people)
        return merge(
            said, published, events_of(opened.journal, names), notes_of(holding.taken or holding.request, names)
        )

    def _name_of(self, agent: str | None) -> str:
        return self._team.name_of(agent) if agent else ""


@contextmanager
def _readable() -> Iterator[None]:
    """Raise ConsoleError if what the block reads cannot be read here."""
    try:
        yield
    except _UNREADABLE as error:
        text = "It has another format or key, as a worker of another release writes it. Try again after the upgrade."
        raise ConsoleError(503, f"This conversation cannot be read now. {text}") from error


def _mark(name: Conversation) -> str:
    return " ".join(name)


def _name_of(mark: str) -> Conversation:
    account_id, _, conversation_id = mark.partition(" ")
    return account_id, conversation_id


def _show_offer(holding: Holding, now: int) -> dict[str, Any]:
    offer, request = holding.offer, holding.request
    if offer is None or request is None:
        return {}
    return {
        "offer": offer.id,
        "expires_at": to_text(offer.expires_at * _SECOND),
        "seconds_left": max(0, (offer.expires_at - now) // _SECOND),
        "queue": request.queue,
        "reason": request.reason,
        "summary": request.summary,
        "context": request.context,
        "note": request.note,
        "asked_by": request.asked_by,
    }


def _availability(agent: DeskAgent | None, now: int) -> str:
    """Return whether a person can be asked at `now` (ms): their presence, or that they have all that they can take."""
    if agent is None:
        return Presence.OFFLINE
    presence, _ = presence_of(agent.state, now)
    is_full = presence == Presence.AVAILABLE and agent.state.load >= agent.state.capacity
    return "busy" if is_full else presence
