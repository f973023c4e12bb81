"""Source `classic`: webhooks of Conversations (classic), version 1: forms, before (pre-action) and after an event.

A pre-action webhook asks whether something may happen: it is answered `{}`, which lets it pass unchanged, and holds no
event, because nothing has happened yet. A post-action one tells what did, and is the event. What a member's webhook
does not use is absent or says `null`. Source of the table: Twilio's page on Conversations webhooks.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from router.core.errors import UnreadableError
from router.core.events import Cause, Disregarded, Event, Identity, InboundEntry
from router.core.signing.form import parse_form
from router.inbound.classic.fields import EVENTS, ClassicFields, classic_key, normalize_classic
from router.inbound.classic.fields import ROWS as FATES
from router.inbound.rows import IGNORED, EventTypeRow
from router.inbound.webhook import Piece, require

if TYPE_CHECKING:
    from router.core.signing.form import Form
    from router.inbound.webhook import Webhook

#: Post-action webhooks, by the name of what they tell (classic_facts says what becomes of it).
EVENT_TYPES: Final = {
    "onConversationAdded": "conversation.added",
    "onConversationUpdated": "conversation.updated",
    "onConversationStateUpdated": "conversation-state.updated",
    "onConversationRemoved": "conversation.removed",
    "onParticipantAdded": "participant.added",
    "onParticipantUpdated": "participant.updated",
    "onParticipantRemoved": "participant.removed",
    "onMessageAdded": "message.added",
    "onMessageUpdated": "message.updated",
    "onMessageRemoved": "message.removed",
    "onDeliveryUpdated": "delivery.updated",
    "onUserAdded": "user.added",
    "onUserUpdated": "user.updated",
}
#: Pre-action webhooks: asked, not told.
PRE_ACTIONS: Final = frozenset(
    {
        "onConversationAdd",
        "onConversationUpdate",
        "onConversationRemove",
        "onParticipantAdd",
        "onParticipantUpdate",
        "onParticipantRemove",
        "onMessageAdd",
        "onMessageUpdate",
        "onMessageRemove",
        "onUserUpdate",
    }
)
_ASKED: Final = "it has not happened yet"
_UNKNOWN: Final = "unknown event type"
#: What becomes of each event type (router.inbound.table).
ROWS: Final = (
    *(replace(FATES[name], event_type=event_type) for event_type, name in EVENT_TYPES.items()),
    *(EventTypeRow(event_type, IGNORED, _ASKED, kind="pre-action, answered {}") for event_type in sorted(PRE_ACTIONS)),
    EventTypeRow("<any other>", IGNORED, _UNKNOWN),
)
_BINDING: Final = "MessagingBinding."


def split(webhook: Webhook, account_id: str) -> list[Piece]:
    """Return the one event of a webhook, or none for a pre-action webhook; raises UnreadableError."""
    identity = identify(webhook.form, default_account=account_id)
    return [] if identity is None else [Piece(identity, webhook.body)]


def identify(form: Form, *, default_account: str) -> Identity | None:
    """Return whose event it is, its key and its classic conversation; None for a pre-action webhook.

    Raises UnreadableError if it cannot be told.
    """
    texts = _read(form)
    event_type = texts["EventType"]
    if event_type in PRE_ACTIONS:
        return None
    account_id = texts.get("AccountSid", default_account)
    name = EVENT_TYPES.get(event_type, "")
    if name in EVENTS:
        fields = _fields(name, texts)
        key = classic_key(fields, account_id) or f"{account_id}:classic:{_digest(form)}"
        return Identity(account_id, key, fields.conversation_sid)
    digest = _digest(form)
    return Identity(account_id, f"{account_id}:classic:{digest}", texts.get("ConversationSid", digest))


def normalize(entry: InboundEntry) -> Event:
    """Return the event in an inbound entry; raises UnreadableError if it does not hold one."""
    texts = _read(parse_form(entry.body))
    event_type = texts["EventType"]
    sid = texts.get("MessageSid") or texts.get("ParticipantSid") or texts.get("ConversationSid")
    cause = Cause(entry.source, event_type, sid, entry.key, entry.received_at)
    if event_type in PRE_ACTIONS:
        return Disregarded(cause, entry.account_id, _ASKED)
    if event_type not in EVENT_TYPES:
        return Disregarded(cause, entry.account_id, f"{_UNKNOWN} {event_type[:64]}")
    return normalize_classic(_fields(EVENT_TYPES[event_type], texts), cause, entry.account_id)


def _read(form: Form) -> dict[str, str]:
    """Return the parameters that say something."""
    texts = form.read()
    require(texts, "EventType")
    said = {name: text for name, value in texts.items() if (text := value.strip()) and text != "null"}
    if "EventType" not in said:
        raise UnreadableError("missing or blank: EventType")
    return said


def _fields(name: str, texts: dict[str, str]) -> ClassicFields:
    binding = {
        field.removeprefix(_BINDING).lower(): text for field, text in texts.items() if field.startswith(_BINDING)
    }
    return ClassicFields(name, texts.get, binding)


def _digest(form: Form) -> str:
    return sha256(b"\0".join(part for pair in form for part in pair)).hexdigest()[:32]
