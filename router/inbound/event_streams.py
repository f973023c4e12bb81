"""Source `event-streams`: CloudEvents of an Event Streams webhook sink, one in an object or several in an array.

Event Streams reports the events of other sources in another envelope. So an incoming message is turned into the form of
its messaging webhook, a v2 resource into its status callback, and the parsers of those sources read them: this is the
only source that imports others. The key is the CloudEvents id. An incoming message also has the key of its form webhook
as an alias, so the second report is a duplicate. A group message has no alias: only Event Streams names its further
members, and the form webhook, which comes first, must not hide them.

A bad element does not affect the rest of its batch, even if it is no JSON: it becomes an entry, and a dead letter, of
its own.
Event types: https://www.twilio.com/docs/events/event-types
Webhook sink: https://www.twilio.com/docs/events/webhook-quickstart
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlencode

import orjson

from router.core.addresses import Address, parse_address
from router.core.errors import UnreadableError
from router.core.events import Cause, Change, Disregarded, Event, Identity, InboundEntry
from router.core.signing.form import Form
from router.core.values import replace
from router.inbound import conversations, messaging
from router.inbound.classic.fields import DISREGARDED, EVENTS, ClassicFields, classic_key, normalize_classic
from router.inbound.classic.fields import ROWS as CLASSIC_ROWS
from router.inbound.cloud_events import CloudEvent, read_cloud_event
from router.inbound.json_body import read_json, require_exact, split_array
from router.inbound.persons import read_sender
from router.inbound.rows import IGNORED, JOINED, SAID, EventTypeRow
from router.inbound.webhook import Piece, get_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router.core.events import MessageReceived
    from router.inbound.webhook import Webhook

MESSAGE: Final = "com.twilio.messaging.inbound-message.received"
_PREFIX: Final = "com.twilio.conversations."
#: Parts of the event types of the conversations family: verb and subject.
_CHANGES: Final = {"added": Change.ADDED, "created": Change.ADDED, "updated": Change.UPDATED, "removed": Change.REMOVED}
_KINDS: Final = {
    "participant": "participant",
    "conversation": "conversation",
    "conversation-state": "conversation",
    "message": "message",
    "communication": "message",
}
#: Subjects that have another name in classic webhooks.
_SUBJECTS: Final = {"communication": "message"}
#: The status callbacks of v2 that report the same changes.
_CALLBACKS: Final = {
    ("participant", Change.ADDED): "PARTICIPANT_ADDED",
    ("participant", Change.UPDATED): "PARTICIPANT_UPDATED",
    ("participant", Change.REMOVED): "PARTICIPANT_REMOVED",
    ("conversation", Change.ADDED): "CONVERSATION_CREATED",
    ("conversation", Change.UPDATED): "CONVERSATION_UPDATED",
    ("message", Change.ADDED): "COMMUNICATION_CREATED",
    ("message", Change.UPDATED): "COMMUNICATION_UPDATED",
}
#: Beginnings of known event types that are disregarded, and why.
_DISREGARDED: Final = {
    f"{_PREFIX}user.": "a user is not a participant",
    "com.twilio.messaging.message.": "a delivery state changes no participant",
}
#: Parameters of the form webhook, and the fields of its event: both ends, and who wrote it.
_PARAMETERS: Final = {
    "From": "from",
    "To": "to",
    "MessageSid": "messageSid",
    "ExternalUserId": "externalUserId",
    "ParentExternalUserId": "parentExternalUserId",
    "ProfileUsername": "username",
    "ProfileName": "profileName",
}
_TEST: Final = "a test of the sink"
_UNKNOWN: Final = "unknown event type"
_PLAIN_ID: Final = re.compile(r"[!-~]{1,128}", re.ASCII)
#: Fields of a message that are read, and those that a message's form does not have, or has from `_to_form`.
_MAX_FIELDS: Final = 200
_NOT_CONTENT: Final = frozenset(
    {"from", "to", "messagesid", "accountsid", "messagestatus", "smsstatus", "timestamp", "eventname"}
)
#: Further members of a group message that are read; a group has ten members at most.
_MAX_OTHERS: Final = 50


def split(webhook: Webhook, account_id: str) -> list[Piece]:
    """Return the events of a webhook in their order; an empty array has none.

    A bad element is accepted too, under a key of its own: it becomes a dead letter in the worker, with its reason.
    Raises UnreadableError only if the body is not JSON, and no array of which an element is.
    """
    try:
        document, is_exact = read_json(webhook.body)
    except UnreadableError:
        if pieces := _split_broken(webhook.body, account_id):
            return pieces
        raise
    elements = document if isinstance(document, list) else [document]
    return [_take(index, element, webhook.body, account_id, is_exact) for index, element in enumerate(elements)]


def _split_broken(body: bytes, account_id: str) -> list[Piece]:
    """Return the events of an array with elements that are not JSON; none if all are, or if it cannot be split."""
    pieces, has_event = [], False
    for index, raw in enumerate(split_array(body)):
        try:
            element, is_exact = read_json(raw)
        except UnreadableError:
            pieces.append(_take_bad(index, raw, raw, account_id))
        else:
            pieces.append(_take(index, element, raw, account_id, is_exact))
            has_event = True
    return pieces if has_event else []


def _take(index: int, element: Any, body: bytes, account_id: str, is_exact: bool) -> Piece:  # noqa: FBT001 - private
    try:
        raw = orjson.dumps(element)
    except orjson.JSONEncodeError:  # nested too deeply to be written again
        return _take_bad(index, b"", body, account_id)
    try:
        if not is_exact:
            require_exact(element)
        return Piece(_identify(read_cloud_event(element, account_id)), raw)
    except UnreadableError:  # the worker raises it again, and keeps its reason in the dead letter
        return _take_bad(index, raw, raw, account_id)


def _take_bad(index: int, raw: bytes, named_by: bytes, account_id: str) -> Piece:
    """Return a bad element under a key made of its place and of the digest of `named_by`."""
    name = sha256(named_by).hexdigest()[:32]
    return Piece(Identity(account_id, f"{account_id}:event-streams:bad:{name}:{index}", f"bad:{name}"), raw)


def _identify(event: CloudEvent) -> Identity:
    name = event.id if _PLAIN_ID.fullmatch(event.id) else sha256(event.id.encode()).hexdigest()[:32]
    key = f"{event.account_id}:event-streams:{name}"
    if _is_test(event):
        return Identity(event.account_id, key, name)
    if event.type == MESSAGE:
        form = messaging.identify(Form(_to_form(event)), default_account=event.account_id)
        aliases = () if _recipients(event) else (form.key,)
        return Identity(event.account_id, key, form.subject, aliases)
    if _change(event) is None:
        return Identity(event.account_id, key, name)
    resource_id = get_text(event.data, "id")
    if resource_id:
        return Identity(event.account_id, key, get_text(event.data, "conversationId") or resource_id)
    fields = _fields(event)
    alias = classic_key(fields, event.account_id) if fields.name in EVENTS else None
    return Identity(event.account_id, key, fields.conversation_sid, (alias,) if alias else ())


def normalize(entry: InboundEntry) -> Event:
    """Return the event of an inbound entry, which holds one element of a batch.

    Raises UnreadableError or UnusableError (naming fields, never values) if the data does not fit its type.
    """
    element, is_exact = read_json(entry.body)
    if not is_exact:
        require_exact(element)
    event = replace(read_cloud_event(element, ""), account_id=entry.account_id)
    cause = Cause(entry.source, event.type, get_text(event.data, "id"), entry.key, entry.received_at, entry.event_id)
    if _is_test(event):
        test_id = get_text(event.data, "test_id")
        return Disregarded(replace(cause, resource_id=test_id), entry.account_id, _TEST)
    if event.type == MESSAGE:
        return _message(event, entry, cause)
    change = _change(event)
    if change is None:
        reason = next((why for start, why in _DISREGARDED.items() if event.type.startswith(start)), None)
        return Disregarded(cause, entry.account_id, reason or f"{_UNKNOWN} {event.type[:64]}")
    if get_text(event.data, "id"):
        return _reported(event, entry, change)
    return _classic(event, cause)


def _message(event: CloudEvent, entry: InboundEntry, cause: Cause) -> Event:
    form = urlencode(_to_form(event) | _content(event)).encode()
    message = cast("MessageReceived", messaging.normalize(replace(entry, body=form)))  # this form has no status
    cause = replace(cause, resource_id=message.message_sid)
    return replace(message, cause=cause, others=_recipients(event), sent_at=get_text(event.data, "timestamp"))


def _reported(event: CloudEvent, entry: InboundEntry, change: tuple[str, Change]) -> Event:
    """Return the event that the status callback of the same change becomes."""
    callback = _CALLBACKS.get(change)
    body = orjson.dumps({"eventType": callback or event.type, "timestamp": event.time, "data": event.data})
    reported = conversations.normalize(replace(entry, body=body))
    return replace(reported, cause=replace(reported.cause, event_type=event.type))


def _classic(event: CloudEvent, cause: Cause) -> Event:
    """Return the event that the classic webhook of the same change becomes."""
    fields = _fields(event)
    sid = fields.resource_sid if fields.name in EVENTS else fields.conversation_sid
    if fields.name not in EVENTS and fields.name not in DISREGARDED:
        return Disregarded(cause, event.account_id, f"{_UNKNOWN} {event.type[:64]}")
    return normalize_classic(fields, replace(cause, resource_id=sid), event.account_id)


def _fields(event: CloudEvent) -> ClassicFields:
    """Return the fields of an event about a classic conversation; `Index` is a number here, and a text in a form."""
    subject, _, verb = event.type.removeprefix(_PREFIX).partition(".")
    name = f"{_SUBJECTS.get(subject, subject)}.{_CHANGES[verb]}"
    index = next((event.data[each] for each in ("Index", "index") if each in event.data), None)

    def text(field: str) -> str | None:
        return str(index) if field == "Index" and isinstance(index, int) else event.text(field)

    given = event.data.get("MessagingBinding") or event.data.get("messagingBinding")
    binding = {name.lower(): value for name, value in given.items()} if isinstance(given, dict) else {}
    media = event.data.get("Media") or event.data.get("media")
    return ClassicFields(name, text, binding, event.time, media)


def _change(event: CloudEvent) -> tuple[str, Change] | None:
    """Return the kind of resource and its change for a type of the conversations family; None for any other."""
    subject, _, verb = event.type.removeprefix(_PREFIX).partition(".")
    is_known = event.type.startswith(_PREFIX) and subject in _KINDS and verb in _CHANGES
    return (_KINDS[subject], _CHANGES[verb]) if is_known else None


def _is_test(event: CloudEvent) -> bool:
    """Tell whether this is the test of a sink; its `data.test_id` is what validates the sink."""
    return get_text(event.data, "test_id") is not None and event.type != MESSAGE and _change(event) is None


def _to_form(event: CloudEvent) -> dict[str, str]:
    """Return the form webhook of the same message, without its content."""
    fields = {parameter: get_text(event.data, name) for parameter, name in _PARAMETERS.items()}
    return {parameter: value for parameter, value in fields.items() if value}


def _content(event: CloudEvent) -> dict[str, str]:
    """Return the other parameters of the form webhook, whose names are these fields' in PascalCase."""
    texts = {name: _as_parameter(value) for name, value in list(event.data.items())[:_MAX_FIELDS]}
    return {
        name[:1].upper() + name[1:]: text
        for name, text in texts.items()
        if text is not None and name.lower() not in _NOT_CONTENT
    }


def _as_parameter(value: object) -> str | None:
    """Return a value as a form has it; None for a list, an object or nothing."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float | str) else None


def _recipients(event: CloudEvent) -> tuple[Address, ...]:
    """Return the further members of a group message, each once, without the sender and our own address."""
    listed = event.data.get("recipients")
    ends = [parse_address(end) for end in (read_sender(_to_form(event)), get_text(event.data, "to") or "")]
    known = {end.key for end in ends}
    others: dict[str, Address] = {}
    for member in listed[:_MAX_OTHERS] if isinstance(listed, list) else []:
        value = get_text(member, "address") if isinstance(member, dict) else member
        address = parse_address(value, default=ends[0].channel) if isinstance(value, str) and value.strip() else None
        if address is not None and address.key not in known:
            others.setdefault(address.key, address)
    return tuple(others.values())


def _v2_rows() -> Iterator[EventTypeRow]:
    """Yield the rows of v2 resources: the same as those of their status callbacks."""
    rows = {row.event_type: row for row in conversations.ROWS}
    for name in (*EVENTS, "message.updated"):
        subject, _, verb = name.partition(".")
        if callback := _CALLBACKS.get((_KINDS[subject], _CHANGES[verb])):
            yield replace(rows[callback], event_type=f"{_PREFIX}{name}", kind="v2")


def _classic_rows() -> Iterator[EventTypeRow]:
    """Yield the rows of classic resources: the same as those of their webhooks."""
    for name in (*EVENTS, "message.updated", "message.removed"):
        yield replace(CLASSIC_ROWS[name], event_type=f"{_PREFIX}{name}", kind="classic")


#: What becomes of each event type (router.inbound.table).
ROWS: Final = (
    EventTypeRow(MESSAGE, (JOINED, SAID)),
    *_v2_rows(),
    EventTypeRow(f"{_PREFIX}<subject>.removed", IGNORED, _UNKNOWN, kind="v2 conversations and messages"),
    *_classic_rows(),
    *(EventTypeRow(f"{start}<verb>", IGNORED, why) for start, why in _DISREGARDED.items()),
    EventTypeRow("com.twilio.eventstreams.test-event", IGNORED, _TEST),
    EventTypeRow("<any other>", IGNORED, _UNKNOWN),
)
