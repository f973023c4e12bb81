"""Events of classic conversations, which classic webhooks and Event Streams report with the same fields.

Events have the names of Event Streams (`participant.added`), fields the PascalCase names that both sources use. Both
sources take the idempotency key from here, so the second report of an event is a duplicate. An event that happens once
for its SID needs no time in its key. The key of an update has its time and, as times may have whole seconds, a digest
of the fields that it can change.
Fields: https://www.twilio.com/docs/conversations-classic/conversations-webhooks and
https://www.twilio.com/docs/events/event-types/conversations/participant
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.core.classic.resources import MessagingBinding
from router.core.errors import UnreadableError
from router.core.events import Cause, Change, ClassicReported, Disregarded, Medium, Version
from router.core.lenient_json import load_json
from router.core.provider_fields import NO_FIELDS, bound_fields
from router.core.timestamps import to_microseconds
from router.core.values import Value
from router.inbound.rows import CLOSED, IGNORED, JOINED, LEFT, NOTED, SAID, UPDATED, EventTypeRow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router.core.provider_fields import ProviderFields

#: Events by name: the kind of resource, and its change.
EVENTS: Final = {
    "participant.added": ("participant", Change.ADDED),
    "participant.updated": ("participant", Change.UPDATED),
    "participant.removed": ("participant", Change.REMOVED),
    "conversation.added": ("conversation", Change.ADDED),
    "conversation.updated": ("conversation", Change.UPDATED),
    "conversation-state.updated": ("conversation", Change.UPDATED),
    "conversation.removed": ("conversation", Change.REMOVED),
    "message.added": ("message", Change.ADDED),
}
#: Known events that are disregarded, and why.
DISREGARDED: Final = {
    "message.updated": "a change of a message changes no participant",
    "message.removed": "a change of a message changes no participant",
    "delivery.updated": "a delivery state changes no participant",
    "user.added": "a user is not a participant",
    "user.updated": "a user is not a participant",
}
_IDS: Final = "with its v2 ids if the service is bridged, else with its classic SIDs"
_STATE: Final = "if its state is closed; else it is noted"
#: What becomes of each event, by name; each source replaces the name by its own event type.
ROWS: Final = {
    row.event_type: row
    for row in (
        EventTypeRow("participant.added", (JOINED,), _IDS),
        EventTypeRow("participant.updated", (UPDATED, JOINED), "the latter if it becomes one that is announced"),
        EventTypeRow("participant.removed", (LEFT,)),
        EventTypeRow("conversation.added", NOTED, "its state, for later entries"),
        EventTypeRow("conversation.updated", (CLOSED,), _STATE),
        EventTypeRow("conversation-state.updated", (CLOSED,), _STATE),
        EventTypeRow("conversation.removed", (CLOSED,)),
        EventTypeRow(
            "message.added",
            (JOINED, SAID),
            "the former if its author was not announced yet; if the service is bridged, v2 reports it",
        ),
        *(EventTypeRow(name, IGNORED, why) for name, why in DISREGARDED.items()),
    )
}
#: Characters of a message's text that are passed on.
MAX_TEXT: Final = 32_768
#: Digits of a message's index in its conversation.
_MAX_DIGITS: Final = 18
#: Attachments of one message that are passed on, and characters of their types.
_MAX_MEDIA: Final = 20
_MAX_TYPE: Final = 255
#: Fields of a message that are passed on as they are.
_FURTHER: Final = ("Attributes", "ContentSid", "MessageSubject", "Subject")
_SIDS: Final = {"participant": "ParticipantSid", "conversation": "ConversationSid", "message": "MessageSid"}
#: The times of a resource; the latest one counts.
_TIMES: Final = ("DateRemoved", "StateUpdated", "DateUpdated", "DateCreated")
#: The fields of a messaging binding by their names in lower case.
_BINDING: Final = {
    "type": "type",
    "address": "address",
    "proxyaddress": "proxy_address",
    "projectedaddress": "projected_address",
}


class ClassicFields(Value):
    """The fields of one event of EVENTS or DISREGARDED.

    `text` returns a field by its PascalCase name. `binding` holds the fields of the messaging binding by their names in
    lower case. `reported_at` is the time of the event itself, if the source has one. `media` are the attachments of a
    message: a list of objects, or its JSON.
    """

    name: str
    text: Callable[[str], str | None]
    binding: Mapping[str, Any]
    reported_at: str | None = None
    media: Any = None

    @property
    def conversation_sid(self) -> str:
        """The classic conversation; raises UnreadableError if it is missing."""
        return self._require("ConversationSid")

    @property
    def resource_sid(self) -> str:
        """The resource that the event is about; raises UnreadableError if it is missing."""
        return self._require(_SIDS[EVENTS[self.name][0]])

    def _require(self, field: str) -> str:
        sid = self.text(field)
        if sid is None:
            raise UnreadableError(f"{self.name}: {field} is missing or blank")
        return sid


def classic_key(fields: ClassicFields, account_id: str) -> str | None:
    """Return the idempotency key of an event of EVENTS, the same for every source that reports it.

    None for an update without a time, which nothing tells from other updates. Raises UnreadableError without its SID.
    """
    parts = [account_id, "classic", fields.name, fields.resource_sid]
    if EVENTS[fields.name][1] is Change.UPDATED:
        time = _latest_time(fields)
        if time is None:
            return None
        parts += [str(time), _digest(fields)]
    return ":".join(parts)


def normalize_classic(fields: ClassicFields, cause: Cause, account_id: str) -> ClassicReported | Disregarded:
    """Return the event of these fields; raises UnreadableError if a SID is missing."""
    if fields.name in DISREGARDED:
        return Disregarded(cause, account_id, DISREGARDED[fields.name])
    kind, change = EVENTS[fields.name]
    binding, index = _read_binding(fields.binding), fields.text("Index") or ""
    media = _read_list(fields.media)[:_MAX_MEDIA]
    return ClassicReported(
        cause=cause,
        account_id=account_id,
        kind=kind,
        change=change,
        version=_version(fields, cause.received_at),
        conversation_sid=fields.conversation_sid,
        participant_sid=fields.resource_sid if kind == "participant" else fields.text("ParticipantSid"),
        message_sid=fields.resource_sid if kind == "message" else None,
        identity=fields.text("Identity"),
        customer=binding.as_address(),
        recipient=binding.as_proxy(),
        projected=binding.as_projected(),
        state=fields.text("StateTo") or fields.text("State"),
        author=fields.text("Author"),
        text=(fields.text("Body") or fields.text("MessageBody") or "")[:MAX_TEXT] or None,
        media=tuple(Medium(_member(one, "ContentType")) for one in media),
        provider=_provider(fields, media) if kind == "message" else NO_FIELDS,
        index=int(index) if index.isascii() and index.isdecimal() and len(index) <= _MAX_DIGITS else None,
        service_sid=fields.text("ChatServiceSid"),
        is_by_api=(fields.text("Source") or "").upper() == "API",
        created_at=fields.text("DateCreated"),
        updated_at=fields.text("DateUpdated"),
    )


def _read_binding(parts: Mapping[str, Any]) -> MessagingBinding:
    """Return a messaging binding; a list of several addresses, as groups have, counts as none."""
    found = {field: _single(parts.get(name)) for name, field in _BINDING.items()}
    return MessagingBinding(**{field: value for field, value in found.items() if value is not None})


def _provider(fields: ClassicFields, media: list[dict[str, Any]]) -> ProviderFields:
    """Return the fields of a message that have no field of ours; a medium's SID and file name are in `Media` only."""
    texts = {name: text for name in _FURTHER if (text := fields.text(name)) and text != "{}"}
    return bound_fields({**texts, "Media": media}) if texts or media else NO_FIELDS


def _read_list(value: object) -> list[dict[str, Any]]:
    """Return the objects of a list; in a form it is JSON."""
    found = _from_json(value)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _member(of: Mapping[str, Any], name: str) -> str | None:
    """Return a text by its PascalCase name, in that spelling, in camelCase or in snake_case."""
    snake = "".join(f"_{one.lower()}" if one.isupper() else one for one in name).lstrip("_")
    found = next((of[each] for each in (name, name[:1].lower() + name[1:], snake) if each in of), None)
    return found[:_MAX_TYPE] if isinstance(found, str) and found else None


def _from_json(value: object) -> object:
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(orjson.JSONDecodeError):
            return load_json(orjson.loads, value)
    return value


def _single(value: object) -> str | None:
    """Return a text, or the only text of a list; in a form a list is JSON."""
    value = _from_json(value)
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    return value.strip() or None if isinstance(value, str) else None


def _latest_time(fields: ClassicFields) -> int | None:
    times = [time for time in map(to_microseconds, map(fields.text, _TIMES)) if time is not None]
    return max(times, default=None)


def _version(fields: ClassicFields, received_at: int) -> Version:
    """Return the version of a fact: by the times of the resource alone, because all sources must agree.

    A form has no time of the event itself. Of two facts with the same time the ledger lets a removal win, which is
    right: a SID is never added again.
    """
    time = _latest_time(fields)
    if time is None:
        reported = to_microseconds(fields.reported_at)
        time = received_at if reported is None else reported
    return Version(time, time)


def _digest(fields: ClassicFields) -> str:
    """Return a digest of the fields that an update can change, equal for the spellings of all sources."""
    binding = _read_binding(fields.binding)
    ends = (binding.as_address(), binding.as_proxy(), binding.as_projected())
    state = (fields.text("StateTo") or fields.text("State") or "").lower()
    parts = [fields.text("Identity") or "", state, *(end.key if end else "" for end in ends)]
    return sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:8]
