"""What a story is made of: customers, and the steps of what happens to them; plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from router.core.keys import Target

if TYPE_CHECKING:
    from router.core.addresses import Address
    from router.simulator.messages import SimulatedWebhook


@dataclass(frozen=True, slots=True)
class Customer:
    """Somebody at one address, and what must come of the story: `words` said in this order, and so many of the rest.

    `is_direct` where the receiver is told of each word by a webhook of its own, in this order; what Twilio takes in by
    itself is told by callbacks, which keep no order.
    """

    kind: str
    address: Address
    ours: Address
    words: tuple[str, ...] = ()
    target: Target = Target.AI_AGENT
    stays: int = 1
    left: int = 0
    closed: int = 0
    is_direct: bool = True


@dataclass(frozen=True, slots=True)
class Telling:
    """A webhook, and the receiver that the balancer tries first."""

    webhook: SimulatedWebhook
    receiver: int


@dataclass(frozen=True, slots=True)
class Say:
    """All of these at once; the step is over when each has been answered 2xx."""

    tellings: tuple[Telling, ...]


@dataclass(frozen=True, slots=True)
class TakeIn:
    """Twilio takes a message in by itself: a request to the sandbox's admin API, which then calls back."""

    path: str
    body: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Ring:
    """A call comes in: each of these at once, and Twilio does what one of the answers says."""

    tellings: tuple[Telling, ...]


@dataclass(frozen=True, slots=True)
class Until:
    """Wait until so much has come of the story: stays, stays that ended, conversations closed, words, answers."""

    customer: Customer
    joined: int = 0
    left: int = 0
    closed: int = 0
    words: int = 0
    is_answered: bool = False


@dataclass(frozen=True, slots=True)
class Close:
    """The owner of the account closes the conversation that the customer is in."""

    customer: Customer


@dataclass(frozen=True, slots=True)
class Remove:
    """Twilio removes the customer from its conversation."""

    customer: Customer


Action = Say | TakeIn | Ring | Until | Close | Remove


@dataclass(frozen=True, slots=True)
class Step:
    """An action, and the pause in seconds before it."""

    pause: float
    action: Action


@dataclass(frozen=True, slots=True)
class Story:
    """What happens to a few customers from the moment `at` (seconds) on."""

    at: float
    customers: tuple[Customer, ...]
    steps: tuple[Step, ...]
