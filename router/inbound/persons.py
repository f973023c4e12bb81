"""Ids and names of the sender of a message, which its channel tells besides the address.

A WhatsApp user may hide the phone. `From` then is an id of the user, and messages that show the phone tell the same id
beside it (`ExternalUserId`). So messages of one user have one subject, that of the id, and their other addresses are
aliases of one customer. All of this is text from outside: bounded, on one line, and never a reason to refuse a message.
Parameters: https://www.twilio.com/docs/messaging/guides/webhook-request
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.addresses import Address, Channel, canonicalize, read_user_id
from router.core.events import STRANGER, Person

if TYPE_CHECKING:
    from collections.abc import Mapping

ID: Final = "ExternalUserId"
PARENT: Final = "ParentExternalUserId"
_USERNAMES: Final = ("ProfileUsername", "Username")
_NAME: Final = "ProfileName"
#: Parameters without which only the address of a customer is known.
_TOLD: Final = frozenset({ID, PARENT, *_USERNAMES, _NAME})
_PREFIX: Final = "whatsapp:"
#: Characters of a name and of an id that are passed on; WhatsApp's names have 25, its ids at most 135.
_MAX_NAME: Final = 256
_MAX_ID: Final = 256


def read_sender(params: Mapping[str, str]) -> str:
    """Return the sender of a message as its channel writes it: `From`, or the id of a user without a phone."""
    sender = params.get("From", "")
    if sender.strip().lower() not in {"", _PREFIX}:
        return sender
    found = (canonicalize(Channel.WHATSAPP, params.get(name, "")) for name in (ID, PARENT))
    return next((f"{_PREFIX}{one}" for one in found if one), sender)


def read_person(params: Mapping[str, str], customer: Address) -> Person:
    """Return who wrote a message from an address."""
    own = read_user_id(customer.channel, customer.value) if customer.channel == Channel.WHATSAPP else None
    if own is None and _TOLD.isdisjoint(params):
        return STRANGER
    parent = _id(params.get(PARENT)) or (own if own and ".ENT." in own else None)
    return Person(
        external_user_id=_id(params.get(ID)) or (own if own != parent else None),
        parent_external_user_id=parent,
        username=next(filter(None, (_name(params.get(name)) for name in _USERNAMES)), None),
        profile_name=_name(params.get(_NAME)),
    )


def aliases_of(person: Person, customer: Address) -> tuple[Address, ...]:
    """Return the further addresses of a customer: the ids that a message tells beside the one in `From`."""
    if customer.channel != Channel.WHATSAPP:
        return ()
    told = (person.external_user_id, person.parent_external_user_id)
    others = [Address(Channel.WHATSAPP, f"{_PREFIX}{one}") for one in told if one]
    return tuple(one for one in others if one.key != customer.key)


def recognize(aliases: tuple[Address, ...], customer: Address) -> Address:
    """Return the address by which a customer is recognized, whichever of them the message came from.

    It is the user's own id, else the one for a group of businesses, else the phone.
    """
    return min((*aliases, customer), key=_rank) if aliases else customer


def _rank(address: Address) -> int:
    canonical = address.canonical
    return 2 if canonical.startswith("+") else 1 if ".ENT." in canonical else 0


def _id(text: str | None) -> str | None:
    """Return an id without its prefix, or None for what cannot be one, such as a phone number."""
    found = canonicalize(Channel.WHATSAPP, text) if text else ""
    is_id = found.isprintable() and 0 < len(found) <= _MAX_ID and " " not in found and not found.startswith("+")
    return found if is_id else None


def _name(text: str | None) -> str | None:
    """Return a name on one line, without characters that are not printed; None if nothing is left."""
    if not text:
        return None
    if not text.isprintable():
        text = "".join(one if one.isprintable() else " " for one in text)
    return " ".join(text[:_MAX_NAME].split()) or None
