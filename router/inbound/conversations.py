"""Source `conversations`: status callbacks of Conversations v2, JSON with `bodySHA256`.

A callback has no id of its own in the body. Its key is the idempotency token of the header where there is one, bound
to the event type and the resource, because a header is not signed and must not be able to hide another event; else
event type, resource and both times. Unknown event types are accepted and disregarded by name: the API grows.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import orjson
from pydantic import ValidationError

from router.core.errors import UnreadableError, UnusableError
from router.core.events import (
    Cause,
    Change,
    CommunicationReported,
    ConversationReported,
    Disregarded,
    Event,
    Identity,
    InboundEntry,
    ParticipantReported,
    Version,
)
from router.core.resources import Communication, Conversation, Participant
from router.core.timestamps import to_microseconds
from router.inbound.rows import CLOSED, IGNORED, JOINED, LEFT, NOTED, SAID, UPDATED, EventTypeRow
from router.inbound.webhook import Piece

if TYPE_CHECKING:
    from router.inbound.webhook import Webhook

_PARTICIPANT_CHANGES: Final = {
    "PARTICIPANT_ADDED": Change.ADDED,
    "PARTICIPANT_UPDATED": Change.UPDATED,
    "PARTICIPANT_REMOVED": Change.REMOVED,
}
_CONVERSATION_TYPES: Final = frozenset({"CONVERSATION_CREATED", "CONVERSATION_UPDATED"})
_DELIVERY: Final = "a delivery state changes no participant"
_UNKNOWN: Final = "unknown event type"
#: What becomes of each event type (router.inbound.table).
ROWS: Final = (
    EventTypeRow("CONVERSATION_CREATED", NOTED, "its status and configuration, for entries to come"),
    EventTypeRow("CONVERSATION_UPDATED", (CLOSED,), "if its status is CLOSED; else it is noted"),
    EventTypeRow("PARTICIPANT_ADDED", (JOINED, UPDATED), "the latter if it was announced before, and differently"),
    EventTypeRow("PARTICIPANT_UPDATED", (UPDATED, JOINED), "the latter if it has become one that is announced"),
    EventTypeRow("PARTICIPANT_REMOVED", (LEFT,)),
    EventTypeRow("COMMUNICATION_CREATED", (JOINED, SAID), "the former if its author is not announced yet"),
    EventTypeRow("COMMUNICATION_UPDATED", IGNORED, _DELIVERY),
    EventTypeRow("<any other>", IGNORED, _UNKNOWN),
)
#: All status callback types of the API.
EVENT_TYPES: Final = (
    *sorted(_CONVERSATION_TYPES),
    *_PARTICIPANT_CHANGES,
    "COMMUNICATION_CREATED",
    "COMMUNICATION_UPDATED",
)


def split(webhook: Webhook, account_id: str) -> list[Piece]:
    """Return the one event of a webhook; raises UnreadableError."""
    identity = identify(webhook.body, token=webhook.token, default_account=account_id)
    return [Piece(identity, webhook.body)]


def identify(body: bytes, *, token: str | None, default_account: str) -> Identity:
    """Return whose callback it is, its key and its conversation; raises UnreadableError if it cannot be told."""
    event_type, data, told = _read(body)
    account_id = _text(data, "accountId") or default_account
    resource_id = _text(data, "id") or ""
    about = _text(data, "conversationId") or resource_id
    if not resource_id and event_type in EVENT_TYPES:
        raise UnreadableError("data.id is missing")
    if not resource_id:  # a type that is not known yet: who knows what identifies it
        resource_id = about = sha256(body).hexdigest()[:32]
    if token:
        parts = [token, event_type, resource_id]
    else:
        parts = [event_type, resource_id, _text(data, "updatedAt") or "", told or ""]
    key = sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return Identity(account_id, f"{account_id}:conversations:{key}", about)


def normalize(entry: InboundEntry) -> Event:
    """Return the event in an inbound entry.

    Raises UnreadableError or UnusableError (naming fields, never values) if the payload is not the resource it says.
    """
    event_type, data, told = _read(entry.body)
    cause = Cause(entry.source, event_type, _text(data, "id"), entry.key, entry.received_at)
    try:
        return _normalize(event_type, data, told, cause, entry.account_id)
    except ValidationError as error:
        fields = ", ".join(".".join(str(part) for part in problem["loc"]) for problem in error.errors())
        raise UnusableError(f"{event_type}: data does not fit in {fields}") from error


def _normalize(event_type: str, data: dict[str, Any], told: str | None, cause: Cause, account_id: str) -> Event:
    version = _version(data, told, cause.received_at)
    if event_type in _PARTICIPANT_CHANGES:
        change = _PARTICIPANT_CHANGES[event_type]
        participant = Participant.model_validate(data)
        if not participant.conversation_id:
            raise UnusableError(f"{event_type}: data.conversationId is missing")
        if change is Change.REMOVED:  # its resource may not have been touched: the removal is as new as its event
            version = Version(max(version), version.reported_at)
        return ParticipantReported(cause, account_id, change, participant, version)
    if event_type in _CONVERSATION_TYPES:
        return ConversationReported(cause, account_id, Conversation.model_validate(data), version)
    if event_type == "COMMUNICATION_CREATED":
        return CommunicationReported(cause, account_id, Communication.model_validate(data))
    if event_type == "COMMUNICATION_UPDATED":
        return Disregarded(cause, account_id, _DELIVERY)
    return Disregarded(cause, account_id, f"{_UNKNOWN} {event_type[:64]}")


def _version(data: dict[str, Any], told: str | None, received_at: int) -> Version:
    """Return how new the fact is; what is missing is replaced by the next best time."""
    told_at = to_microseconds(told)
    updated = to_microseconds(_text(data, "updatedAt") or _text(data, "createdAt"))
    first = updated if updated is not None else (told_at if told_at is not None else received_at)
    return Version(first, told_at if told_at is not None else received_at)


def _read(body: bytes) -> tuple[str, dict[str, Any], str | None]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UnreadableError("the body is not JSON") from error
    if not isinstance(document, dict):
        raise UnreadableError("the body is not a JSON object")
    event_type, data = document.get("eventType"), document.get("data")
    if not isinstance(event_type, str) or not event_type:
        raise UnreadableError("eventType is missing")
    if not isinstance(data, dict):
        raise UnreadableError("data is not an object")
    return event_type, data, _text(document, "timestamp")


def _text(data: dict[str, Any], name: str) -> str | None:
    value = data.get(name)
    return value if isinstance(value, str) and value else None
