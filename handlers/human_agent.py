"""The human agents: each conversation gets the least busy person with room, who joins it; without room it waits.

A conversation has one person, whichever of its customers comes first; they are free again when it closes or its last
customer leaves. Who waits is served as soon as somebody is free (see sweep). The assignment is kept by what it was
made with: a person who is taken off the roster keeps their conversations and gets no new ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers.assignments import Assignments, Released
from handlers.handler import Handler, HandlerResult, Ports, data_of
from handlers.joiners import Joiners
from handlers.roster import load_roster
from handlers.seats import How
from handlers.sweep import Sweeper, seat_person
from router.core.entries import ClosedData, JoinedData, LeftData
from router.core.timestamps import to_microseconds

if TYPE_CHECKING:
    from handlers.effects import Effect
    from router.core.entries import Entry


class HumanAgents:
    """Reacts to participant.joined, participant.left and conversation.closed."""

    def __init__(self, *, books: Assignments, joiners: Joiners, sweeper: Sweeper) -> None:
        self._books = books
        self._joiners = joiners
        self._sweeper = sweeper

    async def joined(self, entry: Entry, _: Effect) -> HandlerResult:
        """Assign a person and let them join, or let the conversation wait."""
        data = data_of(entry, JoinedData)
        account, conversation = data.account_id, data.conversation.id
        entered = await self._books.enter(account, conversation, data.participant.id, data.channel, _time(entry))
        if entered.placed:
            self._sweeper.wake()
        if entered.card is None:
            word = {"closed": How.CLOSED, "left": "customer-left"}.get(entered.word, entered.word)
            return HandlerResult(word)
        card = entered.card
        joined = await seat_person(self._joiners.of(account), card, account, conversation, data.channel)
        if joined.how in {How.CLOSED, How.GONE}:
            return self._free(joined.how, await self._books.close(account, conversation))
        await self._books.settle(account, conversation, card.identity)
        level = "info" if joined.participant_id else "warning"
        return HandlerResult(joined.how, {"agent": card.identity, "participant": joined.participant_id}, level)

    async def left(self, entry: Entry, _: Effect) -> HandlerResult:
        """Free the person if that was the last customer."""
        data = data_of(entry, LeftData)
        released = await self._books.leave(data.account_id, data.conversation.id, data.participant.id, _time(entry))
        return self._free(released.word, released)

    async def closed(self, entry: Entry, _: Effect) -> HandlerResult:
        """Free the person."""
        data = data_of(entry, ClosedData)
        released = await self._books.close(data.account_id, data.conversation.id)
        return self._free(released.word, released)

    def _free(self, word: str, released: Released) -> HandlerResult:
        if released.placed:
            self._sweeper.wake()
        return HandlerResult(word, {"agent": released.agent})


def _time(entry: Entry) -> int:
    """Return an entry's time in ms."""
    return (to_microseconds(entry.time) or 0) // 1000


def make_human_agent(ports: Ports) -> Handler:
    """Assign a person of the roster to every conversation, least busy first, and let them join."""
    books = Assignments(ports.redis, ports.keys, load_roster(ports.settings.config_dir))
    joiners = Joiners(ports.apis, ports.store)
    sweeper = Sweeper(books=books, joiners=joiners)
    people = HumanAgents(books=books, joiners=joiners, sweeper=sweeper)
    return Handler(
        {JoinedData.type: people.joined, LeftData.type: people.left, ClosedData.type: people.closed},
        background=sweeper.run,
    )
