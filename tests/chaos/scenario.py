"""The parts of a scenario: customers, and the steps of what happens to them. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from router.core.keys import Target
from tests.support.accounts import ACCOUNT

if TYPE_CHECKING:
    from router.core.addresses import Address
    from router.simulator.messages import SimulatedWebhook


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer at one address, and what must come of the scenario: `messages` in this order, and so many of the rest.

    The messages of an `is_direct` customer come in by webhooks of their own, in this order; messages that Twilio
    captures by itself are reported by callbacks, which keep no order.
    """

    kind: str
    address: Address
    ours: Address
    messages: tuple[str, ...] = ()
    target: Target = Target.AI_AGENT
    stays: int = 1
    left: int = 0
    closed: int = 0
    is_direct: bool = True
    account: str = ACCOUNT


@dataclass(frozen=True, slots=True)
class Copy:
    """A webhook to send, and the receiver that the balancer tries first."""

    webhook: SimulatedWebhook
    receiver: int


@dataclass(frozen=True, slots=True)
class SendWebhooks:
    """Send all of these at once; the step is over when each has been answered 2xx."""

    copies: tuple[Copy, ...]


@dataclass(frozen=True, slots=True)
class SandboxRequest:
    """Make the sandbox act as Twilio does by itself, such as capture a message; it then sends callbacks."""

    path: str
    body: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class PlaceCall:
    """Send the webhooks of a call at once, and do with the call what one of the answers says."""

    copies: tuple[Copy, ...]


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Wait until so many stays have begun and ended, conversations closed, and messages were published and answered."""

    customer: Customer
    joined: int = 0
    left: int = 0
    closed: int = 0
    messages: int = 0
    is_answered: bool = False


@dataclass(frozen=True, slots=True)
class CloseConversation:
    """Close the conversation that the customer is in, as the owner of the account."""

    customer: Customer


@dataclass(frozen=True, slots=True)
class RemoveCustomer:
    """Remove the customer from its conversation, as Twilio does it."""

    customer: Customer


@dataclass(frozen=True, slots=True)
class AskForPerson:
    """Pass the customer's conversation on to people, as an AI agent does."""

    customer: Customer


@dataclass(frozen=True, slots=True)
class HandBack:
    """Wait until a person holds the conversation, and give it back to the AI agent."""

    customer: Customer


Action = (
    SendWebhooks | SandboxRequest | PlaceCall | WaitUntil | CloseConversation | RemoveCustomer | AskForPerson | HandBack
)


@dataclass(frozen=True, slots=True)
class Step:
    """An action, and the pause in seconds before it."""

    pause: float
    action: Action


@dataclass(frozen=True, slots=True)
class Scenario:
    """The events of a few customers from the moment `at` (seconds) on."""

    at: float
    customers: tuple[Customer, ...]
    steps: tuple[Step, ...]
