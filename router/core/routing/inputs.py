"""What can happen to a conversation's floor: the inputs of its state machine, and what it reports. Pure values.

All times are in ms since 1970. The transitions are in core.routing.transitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.values import value

if TYPE_CHECKING:
    from router.core.routing.holding import Because, Holder, Offer, OfferEnd, Request


@value
class Ask:
    """Somebody asks for a person. `epoch` is checked if it is given; `asked_by` must hold if it is given."""

    request: Request
    epoch: int | None = None


@value
class Place:
    """An agent with room was found for the request `request_id`."""

    request_id: str
    agent: str
    name: str
    now: int
    ring: int
    is_automatic: bool = False


@value
class Accept:
    """An agent accepts an offer."""

    offer_id: str
    agent: str
    now: int


@value
class Decline:
    """An agent declines an offer."""

    offer_id: str
    agent: str


@value
class Expire:
    """An offer's deadline has passed."""

    offer_id: str
    now: int


@value
class Unplace:
    """The agent who is asked cannot take it any more: presence has lapsed, or the place was lost."""

    agent: str


@value
class GiveUp:
    """The patience of the request's queue is over, or it is closed; `to_ai`: the AI agent gets the floor."""

    request_id: str
    to_ai: bool


@value
class Overflow:
    """The request moves on to another queue."""

    request_id: str
    queue: str
    now: int


@value
class Release:
    """A person gives the conversation back to the AI agent."""

    agent: str
    epoch: int
    note: str | None = None


@value
class Lapse:
    """The presence of the person who holds has ended; `request` asks for the next one."""

    agent: str
    request: Request


@value
class Join:
    """Another system added a person, who holds from now on."""

    participant_id: str


@value
class Leave:
    """The person whom another system added was removed; `request` asks for the next one, None: the AI agent."""

    participant_id: str
    request: Request | None = None


@value
class Close:
    """The conversation has closed."""


Input = Ask | Place | Accept | Decline | Expire | Unplace | GiveUp | Overflow | Release | Lapse | Join | Leave | Close


@value
class Requested:
    """`handoff.requested`."""

    request: Request


@value
class Made:
    """`offer.made`."""

    offer: Offer
    request: Request


@value
class Ended:
    """`offer.ended`."""

    offer: Offer
    how: OfferEnd
    request: Request


@value
class Changed:
    """`holder.changed`: both targets are told."""

    before: Holder
    after: Holder
    epoch: int
    because: Because
    note: str | None = None
    request: Request | None = None


@value
class Failed:
    """`handoff.failed`: nobody accepted within the patience of the queue."""

    request: Request
    to_ai: bool


Happening = Requested | Made | Ended | Changed | Failed
