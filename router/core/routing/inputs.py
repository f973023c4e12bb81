"""The inputs of the state machine of a conversation's floor, and its reports. Pure values.

All times are in ms since 1970. The transitions are in core.routing.transitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.values import Value

if TYPE_CHECKING:
    from router.core.routing.holding import Because, HandoffRequest, Holder, Offer, OfferEnd
    from router.core.routing.queues import Fallback


class AskForPerson(Value):
    """A request for a person. `epoch`, if given, must be the current one; `asked_by`, if given, the holder."""

    request: HandoffRequest
    epoch: int | None = None


class GetPlace(Value):
    """An agent with room was found for the request `request_id`."""

    request_id: str
    agent: str
    name: str
    now: int
    ring: int
    is_automatic: bool = False


class AcceptOffer(Value):
    """An agent accepts an offer."""

    offer_id: str
    agent: str
    now: int


class DeclineOffer(Value):
    """An agent declines an offer."""

    offer_id: str
    agent: str


class ExpireOffer(Value):
    """An offer's deadline has passed."""

    offer_id: str
    now: int


class LosePlace(Value):
    """The agent who is asked cannot take it any more: their presence has lapsed, or they have no room."""

    agent: str


class GiveUp(Value):
    """The patience of the request's queue is over, or the queue is closed, and its fallback decides."""

    request_id: str
    fallback: Fallback


class AskAgain(Value):
    """Those who declined a request that waits on may be asked again."""

    request_id: str
    now: int


class Overflow(Value):
    """The request moves on to another queue."""

    request_id: str
    queue: str
    now: int


class LoseCustomer(Value):
    """Every customer has left, so that nobody needs the person who is asked for."""

    request_id: str


class ReleaseFloor(Value):
    """A person gives the conversation back to the AI agent."""

    agent: str
    epoch: int
    note: str | None = None


class LapseHolder(Value):
    """The presence of the person who holds has ended; `request` asks for the next one."""

    agent: str
    request: HandoffRequest


class AddForeign(Value):
    """Another system added a person, who holds from now on."""

    participant_id: str


class RemoveForeign(Value):
    """The person whom another system added was removed; `request` asks for the next one, None: the AI agent."""

    participant_id: str
    request: HandoffRequest | None = None


class CloseFloor(Value):
    """The conversation has closed."""


Input = (
    AskForPerson
    | GetPlace
    | AcceptOffer
    | DeclineOffer
    | ExpireOffer
    | LosePlace
    | GiveUp
    | AskAgain
    | Overflow
    | LoseCustomer
    | ReleaseFloor
    | LapseHolder
    | AddForeign
    | RemoveForeign
    | CloseFloor
)

#: What the router does on its own, as `cause.event_type` of entries and `explain` name it (docs/entries.md).
OWN_EVENTS: Final[dict[type[Input], str]] = {
    AskForPerson: "person.needed",
    GetPlace: "agent.chosen",
    LosePlace: "agent.lost",
    ExpireOffer: "offer.expired",
    Overflow: "queue.overflow",
    GiveUp: "queue.fallback",
    AskAgain: "queue.again",
    LapseHolder: "presence.lapsed",
    LoseCustomer: "customer.left",
}


class Requested(Value):
    """`handoff.requested`."""

    request: HandoffRequest


class Made(Value):
    """`offer.made`."""

    offer: Offer
    request: HandoffRequest


class Ended(Value):
    """`offer.ended`."""

    offer: Offer
    how: OfferEnd
    request: HandoffRequest


class Changed(Value):
    """`holder.changed`: both targets are told."""

    before: Holder
    after: Holder
    epoch: int
    because: Because
    note: str | None = None
    request: HandoffRequest | None = None


class Failed(Value):
    """`handoff.failed`: nobody accepted within the patience of the queue; without a `fallback` the customer left."""

    request: HandoffRequest
    fallback: Fallback | None


Happening = Requested | Made | Ended | Changed | Failed
