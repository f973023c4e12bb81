"""Source `classic`: form webhooks of Conversations (classic), version 1: before an event (pre-action) and after it.

A pre-action webhook asks whether something may happen. It is answered `{}`, which permits it unchanged, and holds no
event, because nothing has happened yet. A post-action webhook is the event. Fields that do not apply to a member are
absent or `null`.
Event types and parameters: https://www.twilio.com/docs/conversations-classic/conversations-webhooks
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from router.core.errors import UnreadableError
from router.core.events import Cause, Disregarded, Event, Identity, InboundEntry, SourceName
from router.core.signing.form import parse_form
from router.core.values import replace
from router.inbound.callbacks import ROW, identify_callback, normalize_callback
from router.inbound.classic.fields import EVENTS, ClassicFields, classic_key, normalize_classic
from router.inbound.classic.fields import ROWS as ROWS_BY_NAME
from router.inbound.rows import IGNORED, EventTypeRow
from router.inbound.webhook import Piece, require

if TYPE_CHECKING:
    from router.core.signing.form import Form
    from router.inbound.webhook import Webhook

#: Post-action webhooks, and the name of the event that each one reports (router.inbound.classic.fields).
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
#: Pre-action webhooks.
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
_NOT_YET: Final = "it has not happened yet"
_UNKNOWN: Final = "unknown event type"
#: What becomes of each event type (router.inbound.table).
ROWS: Final = (
    *(replace(ROWS_BY_NAME[name], event_type=event_type) for event_type, name in EVENT_TYPES.items()),
    *(EventTypeRow(name, IGNORED, _NOT_YET, kind="pre-action, answered {}") for name in sorted(PRE_ACTIONS)),
    EventTypeRow("<any other>", IGNORED, _UNKNOWN),
    ROW,
)
_BINDING: Final = "MessagingBinding."
#: Parameters that are what a customer has written: there `null` is a word.
_SAID: Final = ("Body", "MessageBody")
#: Parameters that must be UTF-8; in all others a wrong byte is replaced.
_EXACT: Final = frozenset(
    {
        "EventType",
        "AccountSid",
        "ConversationSid",
        "ParticipantSid",
        "MessageSid",
        "ChatServiceSid",
        "Identity",
        "Author",
        *(f"{_BINDING}{name}" for name in ("Address", "ProxyAddress", "ProjectedAddress")),
    }
)


def split(webhook: Webhook, account_id: str) -> list[Piece]:
    """Return the one event of a webhook, or none for a pre-action webhook; raises UnreadableError."""
    try:
        identity = identify(webhook.form, default_account=account_id)
    except UnreadableError:
        identity = None
        if not webhook.form.get("EventType").strip():
            identity = identify_callback(webhook.form, SourceName.CLASSIC, default_account=account_id)
        if identity is None:
            raise
    return [] if identity is None else [Piece(identity, webhook.body)]


def identify(form: Form, *, default_account: str) -> Identity | None:
    """Return an event's account, key and classic conversation, or None for a pre-action webhook.

    Raises UnreadableError naming what is missing.
    """
    params = _read(form)
    event_type = params["EventType"]
    if event_type in PRE_ACTIONS:
        return None
    account_id = params.get("AccountSid", default_account)
    name = EVENT_TYPES.get(event_type, "")
    if name in EVENTS:
        fields = _fields(name, params)
        key = classic_key(fields, account_id) or f"{account_id}:classic:{_digest(form)}"
        return Identity(account_id, key, fields.conversation_sid)
    digest = _digest(form)
    return Identity(account_id, f"{account_id}:classic:{digest}", params.get("ConversationSid", digest))


def normalize(entry: InboundEntry) -> Event:
    """Return the event of an inbound entry; raises UnreadableError if it does not hold one."""
    form = parse_form(entry.body)
    if not form.get("EventType").strip() and (callback := normalize_callback(form, entry)) is not None:
        return callback
    params = _read(form)
    event_type = params["EventType"]
    sid = params.get("MessageSid") or params.get("ParticipantSid") or params.get("ConversationSid")
    cause = Cause(entry.source, event_type, sid, entry.key, entry.received_at, entry.event_id)
    if event_type in PRE_ACTIONS:
        return Disregarded(cause, entry.account_id, _NOT_YET)
    if event_type not in EVENT_TYPES:
        return Disregarded(cause, entry.account_id, f"{_UNKNOWN} {event_type[:64]}")
    return normalize_classic(_fields(EVENT_TYPES[event_type], params), cause, entry.account_id)


def _read(form: Form) -> dict[str, str]:
    """Return the parameters that have a value, without blanks around it, and what was said as it is."""
    params = form.read(exact=_EXACT)
    require(params, "EventType")
    found = {name: text for name, value in params.items() if (text := value.strip()) and text != "null"}
    found |= {name: params[name] for name in _SAID if params.get(name)}
    if "EventType" not in found:
        raise UnreadableError("missing or blank: EventType")
    return found


def _fields(name: str, params: dict[str, str]) -> ClassicFields:
    binding = {
        field.removeprefix(_BINDING).lower(): text for field, text in params.items() if field.startswith(_BINDING)
    }
    return ClassicFields(name, params.get, binding, media=params.get("Media"))


def _digest(form: Form) -> str:
    return sha256(b"\0".join(part for pair in form for part in pair)).hexdigest()[:32]
