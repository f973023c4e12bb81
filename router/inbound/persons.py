"""Who wrote a message, by the parameters that its channel adds: names and ids chosen by the user or by WhatsApp.

All of them are text from outside: bounded, on one line, and never a reason to refuse a message.
Parameters: https://www.twilio.com/docs/messaging/guides/webhook-request
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.events import STRANGER, Person

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Characters of a name that are passed on; WhatsApp's have 25.
_MAX_NAME: Final = 256


def read_person(params: Mapping[str, str]) -> Person:
    """Return who wrote a message."""
    name = params.get("ProfileName")
    return Person(profile_name=_name(name)) if name else STRANGER


def _name(text: str) -> str | None:
    """Return a name on one line, without characters that are not printed; None if nothing is left."""
    if not text.isprintable():
        text = "".join(one if one.isprintable() else " " for one in text)
    return " ".join(text[:_MAX_NAME].split()) or None
