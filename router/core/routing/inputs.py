"""The inputs of the state machine of a conversation's floor, and its reports. Pure values.

All times are in ms since 1970. The transitions are in core.routing.transitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.values import value

if TYPE_CHECKING:
    from router.core.routing.holding import Because, HandoffRequest, Holder, Offer, OfferEnd
    from router.core.routing.queues import Fallback


@value
class AskForPerson:
    """A request for a person. `epoch`, if given, must be the current one; `asked_by`, if given, the holder."""

    request: HandoffRequest
    epoch: int | None = None


@value
class GetPlace:
    """An agent with room was found for the request `request_id`."""

    request_id: str
    agent: str
    name: str
    now: int
    ring: int
    is_automatic: bool = False


@value
class AcceptOffer:
    """An agent accepts an offer."""

    offer_id: str
    agent: str
    now: int


@value
class DeclineOffer:
    """An agent declines an offer."""

    offer_id: str
    agent: str


@value
class ExpireOffer:
    """An offer's deadline has passed."""

    offer_id: str
    now: int


@value
class LosePlace:
    """The agent who is asked cannot take it any more: their presence has lapsed, or they have no room."""

    agent: str


@value
class GiveUp:
    """The patience of the request's queue is over, or the queue is closed, and its fallback decides."""

    request_id: str
    fallback: Fallback


@value
class AskAgain:
    """Those who declined a request that waits on may be asked again."""

    request_id: str
    now: int


@value
class Overflow:
    """The request moves on to another queue."""

    request_id: str
    queue: str
    now: int


@value
class LoseCustomer:
    """Every customer has left, so that nobody needs the person who is asked for."""

    request_id: str


@value
class ReleaseFloor:
    """A person gives the conversation back to the AI agent."""

    agent: str
    epoch: int
    note: str | None = None


@value
class LapseHolder:
    """The presence of the person who holds has ended; `request` asks for the next one."""

    agent: str
    request: HandoffRequest


@value
class AddForeign:
    """Another system added a person, who holds from now on."""

    participant_id: str


@value
class RemoveForeign:
    """The person whom another system added was removed; `request` asks for the next one, None: the AI agent."""

    participant_id: str
    request: HandoffRequest | None = None


@value
class CloseFloor:
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


@value
class Requested:
    """`handoff.requested`."""

    request: HandoffRequest


@value
class Made:
    """`offer.made`."""

    offer: Offer
    request: HandoffRequest


@value
class Ended:
    """`offer.ended`."""

    offer: Offer
    how: OfferEnd
    request: HandoffRequest


@value
class Changed:
    """`holder.changed`: both targets are told."""

    before: Holder
    after: Holder
    epoch: int
    because: Because
    note: str | None = None
    request: HandoffRequest | None = None


@value
class Failed:
    """`handoff.failed`: nobody accepted within the patience of the queue; without a `fallback` the customer left."""

    request: HandoffRequest
    fallback: Fallback | None


Happening = Requested | Made | Ended | Changed | Failed
