"""The request forms of Conversations (classic), version 1: CamelCase names, members of an object after a dot.

Pure: values in, wire form out. What is not given is not sent; an empty text is sent, because the API refuses it by
name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from router.core.classic.resources import ClassicChange, NewClassicParticipant

#: Where a field stands in the form.
NAMES: Final = {
    "identity": "Identity",
    "address": "MessagingBinding.Address",
    "proxy_address": "MessagingBinding.ProxyAddress",
    "projected_address": "MessagingBinding.ProjectedAddress",
    "attributes": "Attributes",
    "role_sid": "RoleSid",
    "date_created": "DateCreated",
    "date_updated": "DateUpdated",
    "last_read_message_index": "LastReadMessageIndex",
    "last_read_timestamp": "LastReadTimestamp",
}
_WEBHOOKS: Final = "X-Twilio-Webhook-Enabled"


def to_form(fields: NewClassicParticipant | ClassicChange) -> dict[str, str]:
    """Return the form of a Participant that is created or updated."""
    return {NAMES[name]: str(value) for name, value in fields if value is not None}


def webhook_header(is_enabled: bool | None) -> dict[str, str]:  # noqa: FBT001 # one value, named by the function
    """Return the header that asks for webhooks about a write, or for none; None leaves it to the API (none)."""
    return {} if is_enabled is None else {_WEBHOOKS: str(is_enabled).lower()}
