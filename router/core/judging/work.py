"""One inbound event in progress, and the row of rules that its kind has in `router.core.judging.kinds`.

These are plain values: reading, committing and API requests are the worker's part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from router.core.events import Event
from router.core.values import State, field

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
#: A conversation id, and the ledger fields that an event needs.
Needed = tuple[str, list[str]]


class Preparation(NamedTuple):
    """Facts that must be stored before the API is asked about an event.

    `own`: addresses that are our side from now on. `creating`: addresses of customers who may be created; callbacks
    about them wait for this event.
    """

    own: tuple[Address, ...] = ()
    creating: tuple[Address, ...] = ()


class Memory(NamedTuple):
    """Facts that are stored before a resolved event is committed, so that the next event needs no API request.

    `route` is stored under `name`. `call_sid`: the call that led to the conversation. `known_at`: the addresses of a
    customer who has several, the one of the participant first.
    """

    name: str | None = None
    route: Route | None = None
    call_sid: str | None = None
    known_at: tuple[Address, ...] = ()


class Work(State, Generic[EventT]):
    """An event in progress, and what was read and decided for it so far.

    `kind`: the rules of the event's kind. `begun` (µs): when reading for it began. `account_id`: the account that the
    webhook came from. `decision`: the policy's decision for the sender of a message or a caller. `route`, `ledger`:
    what was read. `outcome`: None until it is known. `published`: the entries that the event added to the ledger.
    `is_being_created`: another event's worker is creating this participant now. `needed`: what the batch path reads.
    `surroundings`: fetched because the policy depends on them. `creating`: see Preparation. `is_on_trust`: the message
    was published in a conversation that had been open shortly before; whether it was still is not known. `lead`: the
    address at which the customer's conversation is looked for, if that is not the one that the event came from.
    `learned`: the address of the participant and those that the message told, if one of these was news; they are to be
    recorded before the commit.
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
    is_on_trust: bool = False
    lead: Address | None = None
    learned: tuple[Address, ...] = ()

    def age(self, now: int) -> float:
        """Return the seconds from the append of the entry to `now` (µs, by the clock of Redis as well)."""
        return (now - self.entry.appended_at) / 1_000_000

    @property
    def is_wanted(self) -> bool:
        """Whether the policy gives the sender of a message, or the caller, a target."""
        return self.decision is not None and self.decision.target is not None


def _no_ends(_: Event) -> tuple[None, None]:
    return None, None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventKind(Generic[EventT]):
    """The rules of one kind of event. Functions get the rules, or the whole context, of the event's account.

    Every kind has:

    fields          the conversation and the ledger fields that the event needs; None if no conversation is known
    apply           the outcome by the committed state; None if the API must be asked. May raise FieldNotReadError: the
                    ledger is then unusable and must be read again

    Kinds that may ask the API:

    resolve         the API requests that find the participant
    apply_resolved  applies their result to the ledger, then publishes the communication
    remember        the facts to store before that is committed, so that the next event needs no request
    on_gone         the outcome if the conversation closed meanwhile; without one the event is resolved once more
    prepare         the facts to store before the API is asked
    apply_confirmed the outcome if the API confirmed the conversation as open; None if the event must be resolved

    Others:

    ends            the customer's address and ours, as far as the event names them
    route           the name of the route that may lead to the conversation
    decide          the policy's decision that is made before anything is read
    is_doubtful     whether a participant may be at an address that became ours since the account was read
    arriving        the address keys of a participant that a worker may be creating now
    names           the names under which the event's communication is claimed in the conversation of its route: one
                    that was published there before the closing is not published again in the next conversation
    known_at        the addresses of a customer who may be known by several, the one in the event first; else empty
    call_sid        the call that the participant is there for: such events wait until Twilio has opened a conversation
    opt_out         STOP, START or HELP if the event is such a message, which Twilio has answered
    has_customer    the event has a `customer`, whose address the log line shows masked
    is_callback     the event shows that status callbacks of the account arrive
    needs_fresh_account   its author may have become ours: read the account again before the API is asked
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
    names: Callable[[EventT], tuple[str, ...]] | None = None
    decide: Callable[[Context, EventT], Decision] | None = None
    is_doubtful: Callable[[Context, EventT], bool] | None = None
    arriving: Callable[[EventT], list[str]] | None = None
    known_at: Callable[[EventT], tuple[Address, ...]] | None = None
    call_sid: Callable[[EventT], str] | None = None
    opt_out: Callable[[EventT], str | None] | None = None
    has_customer: bool = False
    is_callback: bool = False
    needs_fresh_account: bool = False


AnyWork = Work[Any]
