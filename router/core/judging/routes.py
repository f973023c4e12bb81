"""Routes: the remembered conversation of a pair of addresses, or the home of a classic conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.values import Value

if TYPE_CHECKING:
    from router.core.addresses import Address


class Route(Value):
    """The conversation that a route leads to; `confirmed_at` (µs): when the API or an event last confirmed it."""

    conversation_id: str
    participant_id: str
    participant_type: str
    confirmed_at: int


def pair_of(configuration_id: str, customer: Address, recipient: Address) -> str:
    """Return the name of the route between two addresses: configuration, channel, customer, recipient."""
    return pair_of_subject(configuration_id, f"{customer.key}|{recipient.canonical}")


def pair_of_subject(configuration_id: str, subject: str) -> str:
    """Return the name of the route of messages with an inbound subject, which is the pair of their addresses."""
    return f"{configuration_id}|{subject}"
