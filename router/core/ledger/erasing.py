"""Erasing a customer from a ledger: what nobody may know any more goes, what prevents doubling stays.

Markers stay without addresses, so that no stay is announced twice; if the customer comes back to a conversation that is
open, that is an update (participant.updated). The floor keeps its holder and epoch, without words, names and addresses.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from router.core.ledger.marker import HOLDING_FIELD, SUBJECT, TURN_FIELD
from router.core.resources import AGENT_TYPES
from router.core.routing.holding import read_holding

if TYPE_CHECKING:
    from router.core.erasing import ErasedCustomer
    from router.core.ledger.fields import LedgerFields
    from router.core.ledger.marker import Marker
    from router.core.routing.holding import HandoffRequest, Holding

#: Takes the place of a reason that was erased.
ERASED: Final = "(erased)"
#: Begin the names of fields that end with the key of an address.
_ADDRESSES: Final = ("a:", "m:")


class OwnParticipants(NamedTuple):
    """The customer's participants of a conversation, all of their addresses, and whether there is no other customer."""

    ids: frozenset[str]
    keys: frozenset[str]
    is_only: bool


def participants_of(ledger: LedgerFields, customer: ErasedCustomer) -> OwnParticipants:
    """Find the customer in a ledger that was read as a whole."""
    own, keys, others = set[str](), set[str](), 0
    for name, text in ledger.fields.items():
        if name.startswith(_ADDRESSES) and customer.has_address([name[2:]]) and text:
            own.add(text)
    for participant_id, marker in ledger.markers().items():
        is_ours = marker.is_ours or marker.type in AGENT_TYPES
        if customer.has_address(marker.addresses + marker.aliases):
            own.add(participant_id)
            keys.update(() if is_ours else marker.addresses + marker.aliases)
        else:
            others += not is_ours
    return OwnParticipants(frozenset(own), frozenset(keys), bool(own) and not others)


def erase_from(ledger: LedgerFields, customer: ErasedCustomer) -> None:
    """Erase the customer, whose ids include those of `participants_of`, from a ledger that was read as a whole."""
    for name, text in list(ledger.fields.items()):
        if _is_about(name, text, customer):
            ledger.put(name, None)
    for participant_id, marker in ledger.markers().items():
        if participant_id in customer.ids:
            ledger.put_marker(participant_id, _bare_marker(marker))
    is_own = (ledger.account_id, ledger.conversation_id) in customer.conversations
    if turn := ledger.fields.get(TURN_FIELD):
        ledger.put(TURN_FIELD, _without(turn, customer, is_own=is_own))
    holding = ledger.fields.get(HOLDING_FIELD)
    if holding and (is_own or customer.is_in(holding.encode())):
        ledger.put(HOLDING_FIELD, _bare(read_holding(holding), customer).model_dump_json(exclude_defaults=True))


def _is_about(name: str, text: str, customer: ErasedCustomer) -> bool:
    """Return whether a field says that the customer is at an address, or writes under a subject."""
    if name.startswith(SUBJECT):
        return customer.has_subject(name.removeprefix(SUBJECT))
    return name.startswith(_ADDRESSES) and (customer.has_address([name[2:]]) or text in customer.ids)


def _bare_marker(marker: Marker) -> Marker:
    """Return a marker without addresses and their digest. A fact of its version is an update, older ones are stale."""
    if not marker.addresses and not marker.digest:
        return marker
    version = marker.version._replace(reported_at=marker.version.reported_at - 1)
    return marker._replace(addresses=(), aliases=(), digest="", version=version)


def _without(turn: str, customer: ErasedCustomer, *, is_own: bool) -> str | None:
    """Return open turns without what the customer said."""
    lines = [line for line in turn.split("\n") if line]
    left = [line for line in lines if not is_own and json.loads(line.partition(" ")[2])["subject"] not in customer.ids]
    return "".join(f"{line}\n" for line in left) or None


def _bare(holding: Holding, customer: ErasedCustomer) -> Holding:
    shown: dict[str, Any] | None = holding.customer
    if shown is not None and shown.get("id") in customer.ids:
        shown = {**shown, "name": None, "addresses": []}
    return holding.changed(customer=shown, request=_wordless(holding.request), taken=_wordless(holding.taken))


def _wordless(request: HandoffRequest | None) -> HandoffRequest | None:
    if request is None:
        return None
    return request.model_copy(update={"reason": ERASED, "summary": None, "context": None, "note": None})
