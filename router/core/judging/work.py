"""One inbound event being judged, and the row of rules that its kind has in `router.core.judging.kinds`.

Everything here is a value: reading, committing and asking the API is the worker's part.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from router.core.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.addresses import Address
    from router.core.entries import Draft
    from router.core.events import InboundEntry
    from router.core.judging.context import AccountRules, Context
    from router.core.judging.routes import Route
    from router.core.ledger.ledger import Ledger
    from router.core.ledger.marker import Outcome
    from router.core.policy import Decision
    from router.core.resolution.requests import Resolution, Resolved, Surroundings

EventT = TypeVar("EventT", bound=Event)
#: A conversation id, and the fields of its ledger that an event needs.
Needed = tuple[str, list[str]]


class Preparation(NamedTuple):
    """What must be stored before the API is asked about an event.

    `own` are addresses that are our side from now on, `creating` those of customers who may be created: callbacks
    about them wait for this event.
    """

    own: tuple[Address, ...] = ()
    creating: tuple[Address, ...] = ()


class Memory(NamedTuple):
    """What is remembered once a resolved event is committed, so that the next one needs no API call.

    `route` is stored under `name`; `created` are the addresses whose creation has ended (see Preparation); `call_sid`
    names the call that led to the conversation.
    """

    name: str | None = None
    route: Route | None = None
    created: tuple[Address, ...] = ()
    call_sid: str | None = None


@dataclass(slots=True)
class Work(Generic[EventT]):
    """An event on its way; `outcome` is None until it has one. `begun` (µs) is when reading for it began.

    `account_id` is the account that the webhook came from, `kind` are the rules of the event's kind. `decision` is the
    policy's for the sender of a message or a caller; `route` and `ledger` are what was read for it, `needed` is what
    the batch path reads of the ledger; `published` are the entries that it added to the ledger. `is_being_created` if
    the worker of a message is creating this participant at the moment; `surroundings` is what the API was asked for
    because the policy depends on it; `creating` are the addresses that were prepared for it.
    """

    entry: InboundEntry
    event: EventT
    kind: EventKind[EventT]
    begun: int
    account_id: str
    decision: Decision | None = None
    route: Route | None = None
    ledger: Ledger | None = None
    outcome: Outcome | None = None
    published: list[Draft] = field(default_factory=list)
    is_being_created: bool = False
    needed: Needed | None = None
    surroundings: Surroundings | None = None
    creating: tuple[Address, ...] = ()

    def age(self, now: int) -> float:
        """Return how long before `now` (µs) the webhook was received, in seconds."""
        return (now - self.entry.received_at) / 1_000_000

    @property
    def is_wanted(self) -> bool:
        """Tell whether the policy gives the sender of a message, or a caller, a target."""
        return self.decision is not None and self.decision.target is not None


def _no_ends(_: Event) -> tuple[None, None]:
    return None, None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventKind(Generic[EventT]):
    """The rules of one kind of event. Functions get the rules, or the whole context, of the event's account.

    Every kind has:

    fields          the conversation whose ledger the event needs, and which fields; None if no conversation is known
    apply           the outcome by what is committed; None where the API must be asked. May raise FieldNotReadError: the
                    ledger is then spoiled and must be read again

    Kinds that may ask the API:

    resolve         the requests that find the participant
    apply_resolved  applies what they found to the ledger, then publishes what the event says
    remember        what is stored once that is committed, so that the next event needs no request
    on_gone         the outcome where the conversation closed meanwhile; without one the event is resolved once more
    prepare         what must be stored before the API is asked
    apply_confirmed the outcome of an event whose conversation the API has confirmed to be open; None: resolve it

    Others:

    ends            the customer's address and ours, as far as the event tells them
    route           the name of the route by which the conversation may be found
    decide          the policy's decision that is made before anything is read
    is_doubtful     whether somebody may be at an address that became ours since the account was read
    arriving        the keys of the addresses of a participant that some worker may be creating at the moment
    call_sid        the call that the participant is there for: such events wait until Twilio has opened a conversation
    has_customer    the event names the customer (`customer`), whose address the log line shows masked
    is_callback     it shows that status callbacks of the account arrive
    needs_fresh_account   its author may be ours by now: read the account again before the API is asked
    """

    fields: Callable[[AccountRules, Work[EventT]], Needed | None]
    apply: Callable[[Context, Work[EventT]], Outcome | None]
    ends: Callable[[EventT], tuple[Address | None, Address | None]] = _no_ends
    resolve: Callable[[Context, Work[EventT]], Resolution] | None = None
    apply_resolved: Callable[[Context, Work[EventT], Resolved, Ledger], Outcome] | None = None
    remember: Callable[[AccountRules, Work[EventT], Resolved], Memory] | None = None
    on_gone: Outcome | None = None
    prepare: Callable[[Context, Work[EventT]], Preparation] | None = None
    apply_confirmed: Callable[[Context, Work[EventT], Route, Ledger], Outcome | None] | None = None
    route: Callable[[AccountRules, EventT], str | None] | None = None
    decide: Callable[[Context, EventT], Decision] | None = None
    is_doubtful: Callable[[Context, EventT], bool] | None = None
    arriving: Callable[[EventT], list[str]] | None = None
    call_sid: Callable[[EventT], str] | None = None
    has_customer: bool = False
    is_callback: bool = False
    needs_fresh_account: bool = False


AnyWork = Work[Any]
