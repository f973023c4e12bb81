"""The human agents: the person who holds a conversation joins it.

Who is asked, and who holds, is decided by the worker (router.worker.commander, router.core.routing): it tells by
`offer.made` and `holder.changed`. Agents come, accept, write and leave by commands (docs/handoff.md). This handler does
what needs the API: it lets the person join as HUMAN_AGENT, once, and logs what waits for whom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from handlers.handler import Handler, HandlerResult, Ports, data_of
from router.agents.joiners import Joiners
from router.agents.joins import JoinOutcome
from router.agents.people import PersonActions
from router.core.entries import CommunicationData, HolderChangedData, JoinedData, OfferMadeData
from router.core.keys import Target
from router.settings.team_file import load_team

if TYPE_CHECKING:
    from handlers.handler import Reaction
    from router.agents.effects import Effect
    from router.core.entries import Entry
    from router.core.routing.team import Team

#: The results of entries that need nothing of the API.
WAITING: Final = "waiting"  # for a person to accept
OFFERED: Final = "offered"
ELSEWHERE: Final = "elsewhere"  # somebody else holds it from now on


class HumanAgents:
    """Reacts to participant.joined, communication.received, offer.made and holder.changed."""

    def __init__(self, *, people: PersonActions, joiners: Joiners, team: Team) -> None:
        self._people = people
        self._joiners = joiners
        self._team = team

    @property
    def reactions(self) -> dict[str, Reaction]:
        """The reactions by type of entry."""
        return {
            JoinedData.type: self.on_customer,
            CommunicationData.type: self.on_customer,
            OfferMadeData.type: self.on_offer,
            HolderChangedData.type: self.on_holder,
        }

    async def on_customer(self, entry: Entry, _: Effect) -> HandlerResult:
        """Log that a customer waits for people, or has written to them."""
        return HandlerResult(WAITING, {"epoch": entry.data.epoch})

    async def on_offer(self, entry: Entry, _: Effect) -> HandlerResult:
        """Log whom the conversation is offered to."""
        data = data_of(entry, OfferMadeData)
        return HandlerResult(OFFERED, {"agent": data.agent.identity, "offer": data.offer.id})

    async def on_holder(self, entry: Entry, effect: Effect) -> HandlerResult:
        """Let the person who holds from now on join."""
        data = data_of(entry, HolderChangedData)
        member = self._team.members.get(data.to.agent or "")
        if data.to.target != Target.HUMAN_AGENT or member is None:
            return HandlerResult(ELSEWHERE, {"agent": data.to.agent, "because": data.because})
        customer = data.participant
        channel = customer.addresses[0].channel if customer and customer.addresses else ""
        joined = await self._people.join(data.account_id, data.conversation.id, member, channel, effect)
        if joined.how is JoinOutcome.GONE:
            await self._joiners.forget(data.account_id, data.conversation.id)
        fields = {"agent": member.identity, "participant": joined.participant_id, "epoch": data.epoch}
        return HandlerResult(joined.how, fields, level="info" if joined.participant_id else "warning")


def make_human_agent(ports: Ports) -> Handler:
    """Let the person who holds a conversation join it."""
    joiners = Joiners(ports.apis, ports.store)
    people = PersonActions(apis=ports.apis, joiners=joiners)
    agents = HumanAgents(people=people, joiners=joiners, team=load_team(ports.settings.config_dir, needs_people=True))
    return Handler(agents.reactions)
