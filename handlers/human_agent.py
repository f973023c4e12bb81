"""The human agents: each conversation is assigned to the least busy person, who joins it; without capacity it waits.

A conversation has one person, also if it has several customers; the person is free again when it closes or its last
customer leaves, and the next waiting conversation is assigned (see sweep). An assignment keeps what joining needs: a
person who is removed from the roster keeps their conversations and gets no new ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from handlers.assignments import AssignmentOutcome, Assignments, Release
from handlers.handler import Handler, HandlerResult, Ports, data_of
from handlers.joiners import Joiners
from handlers.joins import JoinOutcome
from handlers.roster import load_roster
from handlers.sweep import Sweeper, join_person
from router.core.entries import ClosedData, JoinedData, LeftData
from router.core.timestamps import to_microseconds

if TYPE_CHECKING:
    from handlers.effects import Effect
    from handlers.handler import Reaction
    from router.core.entries import Entry

#: The results of entries that assigned nobody.
_UNASSIGNED: Final[dict[AssignmentOutcome, str]] = {
    AssignmentOutcome.WAITING: "waiting",
    AssignmentOutcome.CLOSED: JoinOutcome.CLOSED,
    AssignmentOutcome.LEFT: JoinOutcome.LEFT,
}


class HumanAgents:
    """Reacts to participant.joined, participant.left and conversation.closed."""

    def __init__(self, *, assignments: Assignments, joiners: Joiners, sweeper: Sweeper) -> None:
        self._assignments = assignments
        self._joiners = joiners
        self._sweeper = sweeper

    @property
    def reactions(self) -> dict[str, Reaction]:
        """The reactions by type of entry."""
        return {JoinedData.type: self.on_joined, LeftData.type: self.on_left, ClosedData.type: self.on_closed}

    async def on_joined(self, entry: Entry, _: Effect) -> HandlerResult:
        """Assign a person and let them join, or leave the conversation waiting."""
        data = data_of(entry, JoinedData)
        account, conversation = data.account_id, data.conversation.id
        assignment = await self._assignments.add_customer(
            account, conversation, data.participant.id, data.channel, _time(entry)
        )
        if assignment.newly_assigned:
            self._sweeper.wake()
        agent = assignment.agent
        if agent is None:
            return HandlerResult(_UNASSIGNED[assignment.outcome])
        joined = await join_person(self._joiners.of(account, conversation), agent, conversation, data.channel)
        if joined.how is JoinOutcome.GONE:
            await self._joiners.follow_gone(data)
        if joined.how in {JoinOutcome.CLOSED, JoinOutcome.GONE}:
            return self._released(joined.how, await self._assignments.close(account, conversation))
        await self._assignments.mark_joined(account, conversation, agent.identity)
        level = "info" if joined.participant_id else "warning"
        return HandlerResult(joined.how, {"agent": agent.identity, "participant": joined.participant_id}, level)

    async def on_left(self, entry: Entry, _: Effect) -> HandlerResult:
        """Free the person if that was the last customer."""
        data = data_of(entry, LeftData)
        release = await self._assignments.remove_customer(
            data.account_id, data.conversation.id, data.participant.id, _time(entry)
        )
        return self._released(release.outcome, release)

    async def on_closed(self, entry: Entry, _: Effect) -> HandlerResult:
        """Free the person."""
        data = data_of(entry, ClosedData)
        release = await self._assignments.close(data.account_id, data.conversation.id)
        return self._released(release.outcome, release)

    def _released(self, word: str, release: Release) -> HandlerResult:
        if release.newly_assigned:
            self._sweeper.wake()
        return HandlerResult(word, {"agent": release.agent})


def _time(entry: Entry) -> int:
    """Return an entry's time in ms."""
    return (to_microseconds(entry.time) or 0) // 1000


def make_human_agent(ports: Ports) -> Handler:
    """Assign a person of the roster to every conversation, least busy first, and let them join."""
    roster = load_roster(ports.settings.config_dir)
    assignments = Assignments(ports.redis, ports.keys, roster, clock=ports.clock.milliseconds)
    joiners = Joiners(ports.apis, ports.store)
    sweeper = Sweeper(assignments=assignments, joiners=joiners)
    agents = HumanAgents(assignments=assignments, joiners=joiners, sweeper=sweeper)
    return Handler(agents.reactions, background=sweeper.run)
