"""The request bodies of the Conversations API: v2 as JSON objects, classic v1 as forms. Pure: values in, bodies out.

In v2 a field that is left out, an empty list and null differ. PUT of a participant clears the fields that are left out,
so None is left out and never sent as null, whose effect there is undocumented; `addresses` is always sent. Null is sent
only where the API documents its effect: in PATCH of a conversation, for the name and for a metadata key.
Classic v1 has CamelCase names with a dot for nested fields. None is not sent; an empty text is, and the API refuses it.
https://www.twilio.com/docs/api/conversations/v2 and
https://www.twilio.com/docs/conversations-classic/api/conversation-participant-resource
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router.core.classic.resources import ClassicChange, NewClassicParticipant
    from router.core.resources import ActionParty, NewParticipant, ParticipantAddress


class Unset(Enum):
    """The type of UNSET, which means "keep the value", whereas None means "remove it"."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET

#: The names of a classic participant's fields in a form.
_FORM_NAMES: Final = {
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


def to_participant(participant: NewParticipant) -> dict[str, Any]:
    """Return the body that creates or replaces a participant; of a fetched one only the writable fields."""
    fields = {"type": participant.type, "name": participant.name, "profileId": participant.profile_id}
    return _given(fields) | {"addresses": [_to_address(address) for address in participant.addresses]}


def _to_address(address: ParticipantAddress) -> dict[str, Any]:
    return _given({"channel": address.channel, "address": address.address, "channelId": address.channel_id})


def to_conversation(
    configuration_id: str | None,
    participants: Sequence[NewParticipant],
    *,
    name: str | None,
    metadata: Mapping[str, str] | None,
    configuration: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the body that creates a conversation and its participants, all or nothing."""
    return _given(
        {
            "configurationId": configuration_id,
            "name": name,
            "participants": [to_participant(each) for each in participants] or None,
            "metadata": metadata,
            "configuration": configuration,
        }
    )


def to_conversation_patch(
    *,
    name: str | Unset | None,
    status: str | None,
    metadata: Mapping[str, str | None] | None,
    status_callbacks: Sequence[Mapping[str, str]] | None,
) -> dict[str, Any]:
    """Return the body of a PATCH: its fields change, a null removes, an empty list of callbacks stops them."""
    body = _given({"status": status, "metadata": metadata})
    if name is not UNSET:
        body["name"] = name
    if status_callbacks is not None:
        body["configuration"] = {"statusCallbacks": list(status_callbacks)}
    return body


def to_message(
    sender: ActionParty,
    to: Sequence[ActionParty],
    *,
    text: str | None,
    content_id: str | None,
    variables: Mapping[str, str] | None,
    media_urls: Sequence[str],
    channel_settings: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the payload of SEND_MESSAGE. Raises ValueError for a message without a receiver or without content."""
    content = _given(
        {"text": text, "contentId": content_id, "variables": variables, "mediaUrls": list(media_urls) or None}
    )
    if not to or not content.keys() - {"variables"}:
        raise ValueError("a message needs a receiver, and a text, a content template or media")
    payload = {"from": sender.to_wire(), "to": [party.to_wire() for party in to], "content": content}
    return payload | _given({"channelSettings": channel_settings})


def to_form(fields: NewClassicParticipant | ClassicChange) -> dict[str, str]:
    """Return the form that creates or updates a classic participant."""
    return {_FORM_NAMES[name]: str(value) for name, value in fields if value is not None}


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
