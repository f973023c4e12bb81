"""One inbound event being worked on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router.core.entries import Draft
    from router.core.events import Event, InboundEntry
    from router.core.judging.routes import Route
    from router.core.ledger.ledger import Ledger
    from router.core.ledger.marker import Outcome
    from router.core.policy import Decision
    from router.core.resolution.requests import Surroundings
    from router.streams.delivery import Delivery


#: A conversation, and the fields of its ledger that an event needs.
Needed = tuple[str, list[str]]


@dataclass(slots=True)
class Work:
    """An event on its way; `outcome` once it has one. `begun` (µs) is when reading for it began.

    `decision` is the policy's for the sender of a message or a caller; `route` and `ledger` are what was read for it,
    `needed` is what the quick path reads of the ledger; `published` are the entries that it added to it.
    `is_being_created` if a message's worker is creating this participant just now; `surroundings` is what the API was
    asked for because the policy wanted to know it.
    """

    delivery: Delivery
    entry: InboundEntry
    event: Event
    begun: int
    decision: Decision | None = None
    route: Route | None = None
    ledger: Ledger | None = None
    outcome: Outcome | None = None
    published: list[Draft] = field(default_factory=list)
    is_being_created: bool = False
    needed: Needed | None = None
    surroundings: Surroundings | None = None

    @property
    def account_id(self) -> str:
        """The account that the webhook came from."""
        return self.entry.account_id

    @property
    def is_wanted(self) -> bool:
        """Tell whether the policy gives the sender of a message, or a caller, a target."""
        return self.decision is not None and self.decision.target is not None
