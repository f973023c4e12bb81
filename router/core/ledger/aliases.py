"""Aliases in the ledger of a conversation: one customer who is seen at several addresses is one participant.

A WhatsApp user who hides the phone writes from an id. Messages that tell both make one an alias of the other: whatever
comes from either belongs to the participant that is announced at one of them, and nobody else is announced there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.addresses import from_key, read_user_id
from router.core.ledger.marker import address_field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.core.addresses import Address
    from router.core.ledger.fields import LedgerFields


def find_announced(ledger: LedgerFields, customer: Address, aliases: Iterable[Address] = ()) -> str | None:
    """Return the id of the participant announced at a customer's address, else at the first alias where one is.

    Raises FieldNotReadError.
    """
    found = ledger.announced_at(customer)
    if found is not None or not aliases:  # nearly always
        return found
    others = (ledger.announced_at(alias) for alias in aliases)
    return next((one for one in others if one is not None), None)


def learn_aliases(ledger: LedgerFields, participant_id: str, addresses: Iterable[Address]) -> bool:
    """Note that an announced participant is at all of these addresses, and return whether one of them is new.

    None is taken from another participant. A new id replaces an older one: a phone that has changed hands belongs to
    another user. Raises FieldNotReadError.
    """
    marker = ledger.marker(participant_id)
    if marker is None or not marker.is_announced:
        return False
    told = dict.fromkeys(address.key for address in addresses)
    holders = {key: ledger.announced_at(from_key(key)) for key in told if key not in marker.addresses}
    new = tuple(
        key for key, holder in holders.items() if key not in marker.aliases and holder in {None, participant_id}
    )
    if not new:
        return False
    has_new_id = any(map(_is_id, new))
    kept = tuple(key for key in marker.aliases if key in told or not (has_new_id and _is_id(key)))
    learned = marker._replace(aliases=(*kept, *new))
    ledger.put_marker(participant_id, learned)
    forget_aliases(ledger, participant_id, set(marker.aliases) - set(kept))
    restore_aliases(ledger, participant_id, new)
    return True


def restore_aliases(ledger: LedgerFields, participant_id: str, keys: Iterable[str]) -> None:
    """Note a participant at the keys of addresses where nobody is announced. Raises FieldNotReadError."""
    for key in keys:
        if ledger.get(address_field(key)) is None:
            ledger.put(address_field(key), participant_id)


def forget_aliases(ledger: LedgerFields, participant_id: str, keys: Iterable[str]) -> None:
    """Remove a participant from the keys of addresses where it is announced. Raises FieldNotReadError."""
    for key in keys:
        if ledger.get(address_field(key)) == participant_id:
            ledger.put(address_field(key), None)


def _is_id(key: str) -> bool:
    address = from_key(key)
    return read_user_id(address.channel, address.value) is not None
