"""Turns a command into an input of its conversation's floor, nothing, or a refusal. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from router.core.routing.commands import (
    Finish,
    HolderCommand,
    OfferCommand,
    ReleaseConversation,
    RequestHandoff,
    Say,
    TransferConversation,
)
from router.core.routing.holding import HandoffRequest, Why
from router.core.routing.inputs import AcceptOffer, AskForPerson, DeclineOffer, ReleaseFloor
from router.core.routing.queues import DEFAULT_QUEUE
from router.core.routing.transitions import check_holder
from router.core.routing.wishes import own_agent

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.routing.commands import Command, CommandData
    from router.core.routing.holding import Holding
    from router.core.routing.inputs import Input
    from router.core.routing.team import Team


class _Situation(NamedTuple):
    command: Command
    account_id: str
    holding: Holding
    now: int

    @property
    def request_id(self) -> str:
        """The id of a request: it names the conversation, so that an offer's id does too."""
        return f"{self.account_id}/{self.command.subject}/{sha256(self.command.id.encode()).hexdigest()[:12]}"


def input_of(command: Command, account_id: str, holding: Holding, team: Team, now: int) -> Input | Why | None:
    """Return the input of a command about a conversation at `now` (ms), the reason to refuse it, or None."""
    if (refused := _unknown(command, holding, team)) is not None:
        return refused
    return _INPUTS[type(command.data)](_Situation(command, account_id, holding, now), command.data)


def _ask(at: _Situation, data: RequestHandoff) -> Input:
    request = HandoffRequest(
        id=at.request_id,
        reason=data.reason,
        queue=data.queue or DEFAULT_QUEUE,
        since=at.now,
        queued_at=at.now,
        summary=data.summary,
        context=data.context,
        skills=data.skills,
        agent=data.agent,
        priority=data.priority,
    )
    return AskForPerson(request, data.epoch)


def _answer(at: _Situation, data: OfferCommand) -> Input:
    if at.command.type == "offer.accept":
        return AcceptOffer(data.offer, data.agent, at.now)
    return DeclineOffer(data.offer, data.agent)


def _release(_: _Situation, data: ReleaseConversation) -> Input:
    return ReleaseFloor(data.agent, data.epoch, data.note)


def _transfer(at: _Situation, data: TransferConversation) -> Input | Why:
    if (refused := check_holder(at.holding, data.agent, data.epoch)) is not None:
        return refused
    taken = at.holding.taken  # what this person was told, the next one has to know too
    request = HandoffRequest(
        id=at.request_id,
        reason=f"transfer by {data.agent}",
        summary=taken.summary if taken else None,
        context=taken.context if taken else None,
        queue=data.to.queue or DEFAULT_QUEUE,
        since=at.now,
        queued_at=at.now,
        skills=data.to.skills,
        agent=data.to.agent,
        asked_by=data.agent,
        note=data.note,
    )
    return AskForPerson(request, data.epoch)


def _check(at: _Situation, data: HolderCommand) -> Why | None:
    return check_holder(at.holding, data.agent, data.epoch)


_INPUTS: Final[dict[type[CommandData], Callable[[_Situation, Any], Input | Why | None]]] = {
    RequestHandoff: _ask,
    OfferCommand: _answer,
    ReleaseConversation: _release,
    TransferConversation: _transfer,
    Say: _check,
    Finish: _check,
}


def _unknown(command: Command, holding: Holding, team: Team) -> Why | None:
    """Return the reason to refuse a command that names an agent, queue or skill which is not configured.

    Who was removed from the roster keeps what they hold: they may act on that, and decline what they are asked.
    """
    data = command.data
    agents: list[str | None] = []
    queue: str | None = None
    skills: tuple[str, ...] = ()
    asked = holding.offer.agent if holding.offer and command.type == "offer.decline" else None
    if isinstance(data, HolderCommand | OfferCommand) and data.agent not in {own_agent(holding), asked}:
        agents.append(data.agent)
    if isinstance(data, RequestHandoff):
        agents.append(data.agent)
        queue, skills = data.queue, data.skills
    if isinstance(data, TransferConversation):
        agents.append(data.to.agent)
        queue, skills = data.to.queue, data.to.skills
    if any(one is not None and one not in team.members for one in agents):
        return Why.UNKNOWN_AGENT
    if queue is not None and not team.has_queue(queue):
        return Why.UNKNOWN_QUEUE
    return None if not skills or team.has_skills(skills) else Why.NO_SUCH_SKILLS
