"""The state machine of a conversation's floor: pure transitions, each of which is legal in some states only.

`take(holding, input)` returns the new holding and what happened, or the reason of a refusal, which changes nothing. It
is total and deterministic: times, ids and the choice of an agent come in as values. TABLE says in which states an input
is legal, and why it is refused in the others.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from router.core.keys import Target
from router.core.routing.holding import (
    MAX_ASKED,
    Because,
    HandoffRequest,
    Holder,
    Holding,
    Offer,
    OfferEnd,
    Why,
)
from router.core.routing.inputs import (
    AcceptOffer,
    AddForeign,
    AskAgain,
    AskForPerson,
    Changed,
    CloseFloor,
    DeclineOffer,
    Ended,
    ExpireOffer,
    Failed,
    GetPlace,
    GiveUp,
    LapseHolder,
    LoseCustomer,
    LosePlace,
    Made,
    Overflow,
    ReleaseFloor,
    RemoveForeign,
    Requested,
)
from router.core.routing.queues import Fallback
from router.core.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router.core.routing.inputs import Happening, Input

#: Begins the agent of a holder whom another system added: the participant's id follows.
FOREIGN: Final = "participant:"


class Floor(Enum):
    """The kinds of holders."""

    AI = "the AI agent"
    QUEUE = "people, and nobody has accepted"
    PERSON = "a person"
    CLOSED = "nobody: the conversation is closed"


class Stage(Enum):
    """The stages of a request."""

    IDLE = "no request"
    WAITING = "a request waits for an agent"
    OFFERED = "an agent is asked"


class Step(Value):
    """The result of an input: the new holding and what happened; or `refused`, and the holding is as before."""

    holding: Holding
    happened: tuple[Happening, ...] = ()
    refused: Why | None = None


def floor_of(holding: Holding) -> Floor:
    """Return the kind of holder."""
    if holding.is_closed:
        return Floor.CLOSED
    if holding.holder.target == Target.AI_AGENT:
        return Floor.AI
    return Floor.QUEUE if holding.holder.agent is None else Floor.PERSON


def stage_of(holding: Holding) -> Stage:
    """Return the stage of the open request."""
    if holding.request is None:
        return Stage.IDLE
    return Stage.WAITING if holding.offer is None else Stage.OFFERED


def take(holding: Holding, given: Input) -> Step:
    """Return the result of an input."""
    row = TABLE[type(given)]
    floor, stage = floor_of(holding), stage_of(holding)
    if floor in row.floors:
        return Step(holding, refused=row.floors[floor])
    if stage in row.stages:
        return Step(holding, refused=row.stages[stage])
    return row.act(holding, given)


def _ask(holding: Holding, given: AskForPerson) -> Step:
    request = given.request
    if request.id in holding.asked:
        return Step(holding, refused=Why.REPEATED)
    if given.epoch is not None and given.epoch != holding.epoch:
        return Step(holding, refused=Why.STALE_EPOCH)
    if request.asked_by is not None and request.asked_by != holding.holder.agent:
        return Step(holding, refused=Why.NOT_HOLDER)
    if request.agent is not None and request.agent == holding.holder.agent:
        return Step(holding, refused=Why.ITSELF)
    asked = (*holding.asked, request.id)[-MAX_ASKED:]
    return Step(holding.changed(request=request, asked=asked), (Requested(request),))


def _place(holding: Holding, given: GetPlace) -> Step:
    request = _request(holding)
    if request.id != given.request_id or given.agent in request.declined:
        return Step(holding, refused=Why.NO_OFFER)
    if given.agent == holding.holder.agent:
        return Step(holding, refused=Why.ITSELF)
    number = holding.offers + 1
    offer = Offer(
        id=f"{request.id}.{number}",
        agent=given.agent,
        name=given.name,
        made_at=given.now,
        expires_at=given.now + given.ring,
    )
    holding = holding.changed(offers=number)
    if given.is_automatic:
        return _give(holding, Holder(target=Target.HUMAN_AGENT, agent=given.agent), Because.ASSIGNED)
    return Step(holding.changed(offer=offer), (Made(offer, request),))


def _accept(holding: Holding, given: AcceptOffer) -> Step:
    offer, request = _offer(holding), _request(holding)
    if offer.id != given.offer_id:
        return Step(holding, refused=Why.NO_OFFER)
    if offer.agent != given.agent:
        return Step(holding, refused=Why.NOT_ASKED)
    if given.now >= offer.expires_at:
        return Step(holding, refused=Why.EXPIRED)
    ended = Ended(offer, OfferEnd.ACCEPTED, request)
    holder = Holder(target=Target.HUMAN_AGENT, agent=given.agent)
    return _give(holding.changed(offer=None), holder, Because.ACCEPTED, ended)


def _decline(holding: Holding, given: DeclineOffer) -> Step:
    offer = _offer(holding)
    if offer.id != given.offer_id:
        return Step(holding, refused=Why.NO_OFFER)
    if offer.agent != given.agent:
        return Step(holding, refused=Why.NOT_ASKED)
    return _ask_on(holding, OfferEnd.DECLINED)


def _expire(holding: Holding, given: ExpireOffer) -> Step:
    offer = _offer(holding)
    if offer.id != given.offer_id or given.now < offer.expires_at:
        return Step(holding, refused=Why.NO_OFFER)
    return _ask_on(holding, OfferEnd.EXPIRED)


def _unplace(holding: Holding, given: LosePlace) -> Step:
    if _offer(holding).agent != given.agent:
        return Step(holding, refused=Why.NO_OFFER)
    return _ask_on(holding, OfferEnd.WITHDRAWN)


def _ask_on(holding: Holding, how: OfferEnd) -> Step:
    """End the offer; the request goes on waiting for the next agent."""
    offer, request = _offer(holding), _request(holding)
    declined, missed = request.declined, tuple(one for one in request.missed if one != offer.agent)
    if how is OfferEnd.DECLINED:
        declined = (*declined, offer.agent)
    elif how is OfferEnd.EXPIRED:
        missed = (*missed, offer.agent)
    request = request.model_copy(update={"declined": declined, "missed": missed})
    return Step(holding.changed(offer=None, request=request), (Ended(offer, how, request),))


def _give_up(holding: Holding, given: GiveUp) -> Step:
    request = _request(holding)
    # A person who has the floor keeps it: a transfer that waits on would leave them no other way to go.
    is_ended = given.fallback is Fallback.AI_AGENT or holding.holder.agent is not None
    if request.id != given.request_id or (request.is_overdue and not is_ended):
        return Step(holding, refused=Why.NO_OFFER)
    failed = Failed(request, Fallback.AI_AGENT if is_ended else given.fallback)
    if not is_ended:  # from now on whoever comes, not only the one who was meant
        waits = request.model_copy(update={"is_overdue": True, "agent": None})
        return Step(holding.changed(request=waits), (failed,))
    if holding.holder.target == Target.AI_AGENT or holding.holder.agent is not None:
        holding, ended = _withdraw(holding)
        return Step(holding, (*ended, failed))
    step = _give(holding, Holder(target=Target.AI_AGENT), Because.FALLBACK)
    return Step(step.holding, (*step.happened[:-1], failed, step.happened[-1]))


def _ask_again(holding: Holding, given: AskAgain) -> Step:
    request = _request(holding)
    if request.id != given.request_id or not request.is_overdue:
        return Step(holding, refused=Why.NO_OFFER)
    again = {"declined": (), "missed": (*request.missed, *request.declined), "asked_again_at": given.now}
    return Step(holding.changed(request=request.model_copy(update=again)))


def _overflow(holding: Holding, given: Overflow) -> Step:
    request = _request(holding)
    if request.id != given.request_id or request.queue == given.queue:
        return Step(holding, refused=Why.NO_OFFER)
    moved = request.model_copy(update={"queue": given.queue, "queued_at": given.now, "declined": (), "missed": ()})
    holding, ended = _withdraw(holding)
    return Step(holding.changed(request=moved), ended)


def _abandon(holding: Holding, given: LoseCustomer) -> Step:
    """End the request; a queue that holds keeps it, to put a customer who comes back in line again."""
    request = _request(holding)
    if request.id != given.request_id:
        return Step(holding, refused=Why.NO_OFFER)
    after, ended = _withdraw(holding)
    if floor_of(holding) is Floor.QUEUE:
        after = after.changed(taken=request)
    return Step(after, (*ended, Failed(request, None)))


def _release(holding: Holding, given: ReleaseFloor) -> Step:
    if (refused := check_holder(holding, given.agent, given.epoch)) is not None:
        return Step(holding, refused=refused)
    return _give(holding, Holder(target=Target.AI_AGENT), Because.RELEASED, note=given.note)


def _lapse(holding: Holding, given: LapseHolder) -> Step:
    if holding.holder.agent != given.agent:
        return Step(holding, refused=Why.NOT_HOLDER)
    kept = holding.request  # a transfer goes on: the one whom it asks may still accept
    offer = holding.offer
    step = _give(holding.changed(request=None, offer=None), Holder(target=Target.HUMAN_AGENT), Because.LAPSED)
    if kept is not None:
        kept = kept.model_copy(update={"asked_by": None})
        return Step(step.holding.changed(request=kept, offer=offer), step.happened)
    return Step(step.holding.changed(request=given.request), (*step.happened, Requested(given.request)))


def _join(holding: Holding, given: AddForeign) -> Step:
    agent = FOREIGN + given.participant_id
    if holding.holder.agent == agent:
        return Step(holding, refused=Why.ITSELF)
    return _give(holding, Holder(target=Target.HUMAN_AGENT, agent=agent), Because.ADDED)


def _leave(holding: Holding, given: RemoveForeign) -> Step:
    if holding.holder.agent != FOREIGN + given.participant_id:
        return Step(holding, refused=Why.NOT_HOLDER)
    if given.request is None:
        return _give(holding, Holder(target=Target.AI_AGENT), Because.REMOVED)
    step = _give(holding, Holder(target=Target.HUMAN_AGENT), Because.REMOVED)
    return Step(step.holding.changed(request=given.request), (*step.happened, Requested(given.request)))


def _close(holding: Holding, _: CloseFloor) -> Step:
    holding, ended = _withdraw(holding)
    return Step(holding.changed(is_closed=True), ended)


def check_holder(holding: Holding, agent: str, epoch: int) -> Why | None:
    """Return the reason to refuse an agent who acts as the holder in `epoch`; None if there is none."""
    if holding.is_closed:
        return Why.CLOSED
    if holding.holder.agent != agent:
        return Why.NOT_HOLDER
    return None if epoch == holding.epoch else Why.STALE_EPOCH


def _give(holding: Holding, holder: Holder, because: Because, *happened: Happening, note: str | None = None) -> Step:
    """Give the floor to `holder`: the epoch rises, and an open request ends."""
    request = holding.request
    holding, ended = _withdraw(holding)
    epoch = holding.epoch + 1
    said = note if note is not None else request.note if request else None
    changed = Changed(holding.holder, holder, epoch, because, said, request)
    after = holding.changed(
        holder=holder,
        epoch=epoch,
        last_agent=holder.agent or holding.last_agent,
        taken=request if holder.agent is not None else None,
    )
    return Step(after, (*happened, *ended, changed))


def _withdraw(holding: Holding) -> tuple[Holding, tuple[Happening, ...]]:
    """Return the holding without request and offer, and the end of the offer."""
    offer, request = holding.offer, holding.request
    ended = (Ended(offer, OfferEnd.WITHDRAWN, request),) if offer is not None and request is not None else ()
    return holding.changed(request=None, offer=None), ended


def _request(holding: Holding) -> HandoffRequest:
    if holding.request is None:
        raise ValueError("the table lets no such input in without a request")
    return holding.request


def _offer(holding: Holding) -> Offer:
    if holding.offer is None:
        raise ValueError("the table lets no such input in without an offer")
    return holding.offer


class Row(NamedTuple):
    """The rule of an input: the floors and stages in which it is refused, and why; `act` decides in all others."""

    act: Callable[[Holding, Any], Step]
    floors: Mapping[Floor, Why]
    stages: Mapping[Stage, Why] = {}


_CLOSED: Final = {Floor.CLOSED: Why.CLOSED}
_OFFERED_ONLY: Final = {Stage.IDLE: Why.NO_OFFER, Stage.WAITING: Why.NO_OFFER}
_REQUESTED_ONLY: Final = {Stage.IDLE: Why.NO_OFFER}

TABLE: Final[dict[type[Input], Row]] = {
    AskForPerson: Row(_ask, _CLOSED, {Stage.WAITING: Why.PENDING, Stage.OFFERED: Why.PENDING}),
    GetPlace: Row(_place, _CLOSED, {Stage.IDLE: Why.NO_OFFER, Stage.OFFERED: Why.PENDING}),
    AcceptOffer: Row(_accept, _CLOSED, _OFFERED_ONLY),
    DeclineOffer: Row(_decline, _CLOSED, _OFFERED_ONLY),
    ExpireOffer: Row(_expire, _CLOSED, _OFFERED_ONLY),
    LosePlace: Row(_unplace, _CLOSED, _OFFERED_ONLY),
    GiveUp: Row(_give_up, _CLOSED, _REQUESTED_ONLY),
    AskAgain: Row(_ask_again, _CLOSED, {Stage.IDLE: Why.NO_OFFER, Stage.OFFERED: Why.PENDING}),
    Overflow: Row(_overflow, _CLOSED, _REQUESTED_ONLY),
    LoseCustomer: Row(_abandon, _CLOSED, _REQUESTED_ONLY),
    ReleaseFloor: Row(_release, _CLOSED | {Floor.AI: Why.NOT_HOLDER, Floor.QUEUE: Why.NOT_HOLDER}),
    LapseHolder: Row(_lapse, _CLOSED | {Floor.AI: Why.NOT_HOLDER, Floor.QUEUE: Why.NOT_HOLDER}),
    AddForeign: Row(_join, _CLOSED),
    RemoveForeign: Row(_leave, _CLOSED | {Floor.AI: Why.NOT_HOLDER, Floor.QUEUE: Why.NOT_HOLDER}),
    CloseFloor: Row(_close, _CLOSED),
}
