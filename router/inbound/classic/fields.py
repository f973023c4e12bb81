"""What the classic webhooks and Event Streams tell alike of classic conversations: one reading of the fields of both.

An event is named as Event Streams does (`participant.added`); its fields have the PascalCase names that both use. One
name for one event, made here, is what lets whichever source comes second be a duplicate. What happens once in the
life of a SID needs no time in its name; an update does, and a digest of what it says, as times may have whole seconds.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.core.classic.resources import MessagingBinding
from router.core.errors import UnreadableError
from router.core.events import Cause, Change, ClassicReported, Disregarded, Version
from router.core.timestamps import to_microseconds
from router.inbound.rows import CLOSED, IGNORED, JOINED, LEFT, NOTED, SAID, UPDATED, EventTypeRow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Name of an event: what it is about, and what happened to it.
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
#: Names that are known and of no interest here, and why.
DISREGARDED: Final = {
    "message.updated": "a change of a message changes no participant",
    "message.removed": "a change of a message changes no participant",
    "delivery.updated": "a delivery state changes no participant",
    "user.added": "a user is no participant",
    "user.updated": "a user is no participant",
}
_HOME: Final = "under its v2 ids where the service is bridged, else under its classic SIDs"
_STATE: Final = "if its state is closed; else it is noted"
#: What becomes of each event, by its name; sources give the rows the names of their own event types.
ROWS: Final = {
    row.event_type: row
    for row in (
        EventTypeRow("participant.added", (JOINED,), _HOME),
        EventTypeRow("participant.updated", (UPDATED, JOINED), "the latter if it has become one that is announced"),
        EventTypeRow("participant.removed", (LEFT,)),
        EventTypeRow("conversation.added", NOTED, "its state, for entries to come"),
        EventTypeRow("conversation.updated", (CLOSED,), _STATE),
        EventTypeRow("conversation-state.updated", (CLOSED,), _STATE),
        EventTypeRow("conversation.removed", (CLOSED,)),
        EventTypeRow(
            "message.added", (JOINED, SAID), "the former if its author is not announced yet; bridged: v2 tells it"
        ),
        *(EventTypeRow(name, IGNORED, why) for name, why in DISREGARDED.items()),
    )
}
#: Characters of a message that are taken along.
MAX_TEXT: Final = 32_768
#: Digits of the number of a message in its conversation.
_MAX_DIGITS: Final = 18
_SIDS: Final = {"participant": "ParticipantSid", "conversation": "ConversationSid", "message": "MessageSid"}
#: The times of a resource; the newest one counts.
_TIMES: Final = ("DateRemoved", "StateUpdated", "DateUpdated", "DateCreated")
#: How a messaging binding names its parts, in lower case.
_BINDING: Final = {
    "type": "type",
    "address": "address",
    "proxyaddress": "proxy_address",
    "projectedaddress": "projected_address",
}


@dataclass(frozen=True, slots=True)
class ClassicFields:
    """The fields of one event of EVENTS or DISREGARDED.

    `text` returns a field by its PascalCase name, `binding` are the parts of the messaging binding by theirs in lower
    case, and `told` is the time of the event itself, where the source has one.
    """

    name: str
    text: Callable[[str], str | None]
    binding: Mapping[str, Any]
    told: str | None = None

    @property
    def conversation_sid(self) -> str:
        """The classic conversation; raises UnreadableError where it is missing."""
        return self._require("ConversationSid")

    @property
    def resource_sid(self) -> str:
        """What the event is about; raises UnreadableError where it is missing."""
        return self._require(_SIDS[EVENTS[self.name][0]])

    def _require(self, field: str) -> str:
        sid = self.text(field)
        if sid is None:
            raise UnreadableError(f"{self.name}: {field} is missing or blank")
        return sid


def classic_key(fields: ClassicFields, account_id: str) -> str | None:
    """Return the idempotency key of an event of EVENTS, the same for every source that tells it.

    None for an update that has no time: nothing says which one it is. Raises UnreadableError without its SID.
    """
    parts = [account_id, "classic", fields.name, fields.resource_sid]
    if EVENTS[fields.name][1] is Change.UPDATED:
        at = _newest(fields)
        if at is None:
            return None
        parts += [str(at), _digest(fields)]
    return ":".join(parts)


def normalize_classic(fields: ClassicFields, cause: Cause, account_id: str) -> ClassicReported | Disregarded:
    """Return the event that the fields tell; raises UnreadableError if it lacks its SIDs."""
    if fields.name in DISREGARDED:
        return Disregarded(cause, account_id, DISREGARDED[fields.name])
    kind, change = EVENTS[fields.name]
    binding, index = read_binding(fields.binding), fields.text("Index") or ""
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
        index=int(index) if index.isascii() and index.isdecimal() and len(index) <= _MAX_DIGITS else None,
        service_sid=fields.text("ChatServiceSid"),
        is_by_api=(fields.text("Source") or "").upper() == "API",
        created_at=fields.text("DateCreated"),
        updated_at=fields.text("DateUpdated"),
    )


def read_binding(parts: Mapping[str, Any]) -> MessagingBinding:
    """Return a messaging binding; where several addresses are listed (a group) it is nobody's in particular."""
    named = {field: _one(parts.get(name)) for name, field in _BINDING.items()}
    return MessagingBinding(**{field: value for field, value in named.items() if value is not None})


def _one(given: object) -> str | None:
    """Return a text, or the only text of a list; a form writes a list as JSON."""
    value = given
    if isinstance(given, str) and given.startswith("["):
        with suppress(orjson.JSONDecodeError):
            value = orjson.loads(given)
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    return value.strip() or None if isinstance(value, str) else None


def _newest(fields: ClassicFields) -> int | None:
    times = [time for time in map(to_microseconds, map(fields.text, _TIMES)) if time is not None]
    return max(times, default=None)


def _version(fields: ClassicFields, received_at: int) -> Version:
    """Return how new the fact is: by its own times alone, as a form tells no other and all sources must agree.

    Of two facts with one time the ledger lets a removal win, which is right: a SID is never added again.
    """
    at = _newest(fields)
    if at is None:
        told = to_microseconds(fields.told)
        at = received_at if told is None else told
    return Version(at, at)


def _digest(fields: ClassicFields) -> str:
    """Return a digest of what an update may change, equal over the spellings of the sources."""
    binding = read_binding(fields.binding)
    ends = (binding.as_address(), binding.as_proxy(), binding.as_projected())
    state = (fields.text("StateTo") or fields.text("State") or "").lower()
    parts = [fields.text("Identity") or "", state, *(end.key if end else "" for end in ends)]
    return sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:8]
