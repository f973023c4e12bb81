"""Routes: where messages of a pair of addresses go, as remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.values import value

if TYPE_CHECKING:
    from router.core.addresses import Address


@value
class Route:
    """The conversation that a pair of addresses leads to; `confirmed_at` (µs) is when the API or an event said so."""

    conversation_id: str
    participant_id: str
    participant_type: str
    confirmed_at: int


def pair_of(configuration_id: str, customer: Address, recipient: Address) -> str:
    """Return the name of a route: (configuration, channel, customer, recipient)."""
    return f"{configuration_id}|{customer.key}|{recipient.canonical}"
