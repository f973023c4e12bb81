"""The request bodies of the Conversations API v2 as JSON objects. Pure: values in, wire form out.

On the wire there are three ways to say nothing: leave a field out, an empty list, and null. PUT of a participant
clears what is left out, so a None is left out and never sent as null, whose effect there is undocumented; `addresses`
is always sent. Null is sent only where the API gives it a meaning: PATCH of a conversation's name or of a metadata key.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router.core.resources import ActionParty, NewParticipant, ParticipantAddress


class Unset(Enum):
    """Tells "leave it as it is" from None, which means "remove it"."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


def to_participant(participant: NewParticipant) -> dict[str, Any]:
    """Return the body for creating or replacing; of a fetched participant only what a client may write."""
    fields = {"type": participant.type, "name": participant.name, "profileId": participant.profile_id}
    return _told(fields) | {"addresses": [_to_address(address) for address in participant.addresses]}


def _to_address(address: ParticipantAddress) -> dict[str, Any]:
    return _told({"channel": address.channel, "address": address.address, "channelId": address.channel_id})


def to_conversation(
    configuration_id: str | None,
    participants: Sequence[NewParticipant],
    *,
    name: str | None,
    metadata: Mapping[str, str] | None,
    configuration: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the body of a new conversation; its participants are created with it or not at all."""
    return _told(
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
    """Return the body of a PATCH: what is in it changes, a null removes, an empty list of callbacks stops them."""
    body = _told({"status": status, "metadata": metadata})
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
    """Return the payload of SEND_MESSAGE. Raises ValueError for a message to nobody or without content."""
    content = _told(
        {"text": text, "contentId": content_id, "variables": variables, "mediaUrls": list(media_urls) or None}
    )
    if not to or not content.keys() - {"variables"}:
        raise ValueError("a message has a receiver, and a text, a content template or media")
    payload = {"from": sender.to_wire(), "to": [party.to_wire() for party in to], "content": content}
    return payload | _told({"channelSettings": channel_settings})


def _told(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
