"""Source `conversations`: status callbacks of Conversations v2, as JSON.

The body of a callback has no id of its own. Its key is made of event type and resource id, with the idempotency token
of the header if there is one, else with `updatedAt` and `timestamp`. The token alone would not do: the header is not
signed, so a forged one could hide another event. Unknown event types are accepted and disregarded by name, because the
API grows.
Event types: https://www.twilio.com/docs/conversations/orchestrator/webhooks
Token: https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

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
from router.inbound.json_body import read_json, require_exact
from router.inbound.rows import CLOSED, IGNORED, JOINED, LEFT, NOTED, SAID, UPDATED, EventTypeRow
from router.inbound.webhook import Piece, get_text

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
    EventTypeRow("CONVERSATION_CREATED", NOTED, "its status and configuration, for later entries"),
    EventTypeRow("CONVERSATION_UPDATED", (CLOSED,), "if its status is CLOSED; else it is noted"),
    EventTypeRow("PARTICIPANT_ADDED", (JOINED, UPDATED), "the latter if it was announced before with other data"),
    EventTypeRow("PARTICIPANT_UPDATED", (UPDATED, JOINED), "the latter if it becomes one that is announced"),
    EventTypeRow("PARTICIPANT_REMOVED", (LEFT,)),
    EventTypeRow("COMMUNICATION_CREATED", (JOINED, SAID), "the former if its author was not announced yet"),
    EventTypeRow("COMMUNICATION_UPDATED", IGNORED, _DELIVERY),
    EventTypeRow("<any other>", IGNORED, _UNKNOWN),
)
#: All event types of status callbacks.
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
    """Return a callback's account, key and conversation; raises UnreadableError naming what is missing."""
    event_type, data, reported_at = _read(body)
    account_id = get_text(data, "accountId") or default_account
    resource_id = get_text(data, "id") or ""
    subject = get_text(data, "conversationId") or resource_id
    if not resource_id and event_type in EVENT_TYPES:
        raise UnreadableError("data.id is missing")
    if not resource_id:  # an unknown type: which field identifies it is unknown too
        resource_id = subject = sha256(body).hexdigest()[:32]
    if token:
        parts = [token, event_type, resource_id]
    else:
        parts = [event_type, resource_id, get_text(data, "updatedAt") or "", reported_at or ""]
    key = sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return Identity(account_id, f"{account_id}:conversations:{key}", subject)


def normalize(entry: InboundEntry) -> Event:
    """Return the event of an inbound entry.

    Raises UnreadableError or UnusableError (naming fields, never values) if `data` is not the resource of its event
    type.
    """
    event_type, data, reported_at = _read(entry.body)
    cause = Cause(entry.source, event_type, get_text(data, "id"), entry.key, entry.received_at, entry.event_id)
    try:
        return _normalize(event_type, data, reported_at, cause, entry.account_id)
    except ValidationError as error:
        fields = ", ".join(".".join(str(part) for part in problem["loc"]) for problem in error.errors())
        raise UnusableError(f"{event_type}: data does not fit in {fields}") from error


def _normalize(event_type: str, data: dict[str, Any], reported_at: str | None, cause: Cause, account_id: str) -> Event:
    version = _version(data, reported_at, cause.received_at)
    if event_type in _PARTICIPANT_CHANGES:
        change = _PARTICIPANT_CHANGES[event_type]
        participant = Participant.model_validate(data)
        if not participant.conversation_id:
            raise UnusableError(f"{event_type}: data.conversationId is missing")
        if change is Change.REMOVED:  # its updatedAt may be older: the removal is as new as its event
            version = Version(max(version), version.reported_at)
        return ParticipantReported(cause, account_id, change, participant, version)
    if event_type in _CONVERSATION_TYPES:
        return ConversationReported(cause, account_id, Conversation.model_validate(data), version)
    if event_type == "COMMUNICATION_CREATED":
        return CommunicationReported(cause, account_id, Communication.model_validate(data))
    if event_type == "COMMUNICATION_UPDATED":
        return Disregarded(cause, account_id, _DELIVERY)
    return Disregarded(cause, account_id, f"{_UNKNOWN} {event_type[:64]}")


def _version(data: dict[str, Any], reported_at: str | None, received_at: int) -> Version:
    """Return the version of a fact; for a missing time it takes the next best one, at last the time of receipt."""
    reported = to_microseconds(reported_at)
    if reported is None:
        reported = received_at
    updated = to_microseconds(get_text(data, "updatedAt") or get_text(data, "createdAt"))
    return Version(reported if updated is None else updated, reported)


def _read(body: bytes) -> tuple[str, dict[str, Any], str | None]:
    document, is_exact = read_json(body)
    if not isinstance(document, dict):
        raise UnreadableError("the body is not a JSON object")
    if not is_exact:
        require_exact(document)
    event_type, data = document.get("eventType"), document.get("data")
    if not isinstance(event_type, str) or not event_type:
        raise UnreadableError("eventType is missing")
    if not isinstance(data, dict):
        raise UnreadableError("data is not an object")
    return event_type, data, get_text(document, "timestamp")
