"""The fields of a conversation's hash, as far as they were read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.addresses import Address
from router.core.errors import RouterError
from router.core.ledger.marker import (
    PARTICIPANT,
    SUBJECT,
    address_field,
    participant_field,
    recipient_field,
    rest_field,
)
from router.core.ledger.packing import SEPARATORS, pack_marker, read_marker
from router.core.resources import ConversationStatus
from router.core.values import State, field

if TYPE_CHECKING:
    from collections.abc import Collection

    from router.core.events import Version
    from router.core.ledger.marker import Marker
    from router.core.resources import Conversation


_DAY: Final = 86_400_000_000
#: µs: evidence that a conversation is open is noted if it is this much newer than the one noted before.
EVIDENCE_STEP: Final = 1_000_000


class FieldNotReadError(RouterError):
    """A decision depends on a field that was not read: read the ledger again with `name`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class LedgerFields(State):
    """The hash of one conversation as far as it was read, and the changes to it.

    `fields` are the fields found, `known` the names that were read (None: all); `changes` are the fields to write,
    where None removes one.
    """

    namespace: str
    account_id: str
    conversation_id: str
    fields: dict[str, str]
    known: Collection[str] | None = None
    changes: dict[str, str | None] = field(default_factory=dict)

    @property
    def revision(self) -> int:
        """The revision that was read; 0 if nothing is committed yet."""
        return int(self.fields.get("rev", "0"))

    @property
    def is_closed(self) -> bool:
        """Whether the conversation is known to be closed, which is final."""
        return self.fields.get("status") == ConversationStatus.CLOSED

    @property
    def closed_at(self) -> int | None:
        """The time of the closing by the API's clock (µs); None if it is not closed, or if the time is not known."""
        version = self.fields.get("version")
        return int(version.partition(".")[0]) if version and self.is_closed else None

    @property
    def open_at(self) -> int:
        """The newest time at which a status callback showed the conversation as open (µs, 0 if none did)."""
        return int(self.fields.get("told", "0"))

    @property
    def epoch(self) -> int:
        """The number of changes of the conversation's holder so far."""
        return int(self.fields.get("epoch", "0"))

    @property
    def subjects(self) -> list[str]:
        """The inbound subjects whose messages are published here, of a ledger that was read with all its fields."""
        return [name.removeprefix(SUBJECT) for name in self.fields if name.startswith(SUBJECT)]

    def get(self, name: str) -> str | None:
        """Return a field's value after the commit; raises FieldNotReadError if it was not read."""
        value = self.fields.get(name)
        if value is None and self.known is not None and name not in self.known and name not in self.changes:
            raise FieldNotReadError(name)
        return value

    def put(self, name: str, value: str | None) -> None:
        """Set a field (None removes it) if that changes it."""
        if self.fields.get(name) == value:
            return
        self.changes[name] = value
        if value is None:
            self.fields.pop(name, None)
        else:
            self.fields[name] = value

    def marker(self, participant_id: str) -> Marker | None:
        """Return a participant's marker; raises OtherFormatError if another release wrote it."""
        text = self.get(participant_field(participant_id))
        if text and text.endswith(SEPARATORS):
            text += self.get(rest_field(participant_id)) or ""
        return read_marker(text) if text else None

    def marker_if_read(self, participant_id: str) -> Marker | None:
        """Return a participant's marker as `marker` does, None if it was not read."""
        text = self.fields.get(participant_field(participant_id))
        if text and text.endswith(SEPARATORS):
            return self.marker(participant_id)
        return read_marker(text) if text else None

    def markers(self) -> dict[str, Marker]:
        """Return the markers of all participants by id, of a ledger that was read with all its fields.

        Raises OtherFormatError.
        """
        ids = [name.removeprefix(PARTICIPANT) for name in sorted(self.fields) if name.startswith(PARTICIPANT)]
        found = {participant_id: self.marker(participant_id) for participant_id in ids}
        return {participant_id: marker for participant_id, marker in found.items() if marker is not None}

    def put_marker(self, participant_id: str, marker: Marker) -> None:
        """Set a participant's marker; raises FieldNotReadError."""
        text, rest = pack_marker(marker)
        name = participant_field(participant_id)
        if rest is not None or self.fields.get(name, "").endswith(SEPARATORS):
            self.get(rest_field(participant_id))  # one that was not read would stay
            self.put(rest_field(participant_id), rest)
        self.put(name, text)

    def announced_at(self, address: Address) -> str | None:
        """Return the id of the participant announced at `address`."""
        return self.get(address_field(address.key))

    def touch(self, now: int, *, open_at: int = 0) -> None:
        """Keep the hash alive, by at most one write a day; `open_at` (µs) is when the API showed it as open."""
        self.put("day", str(now // _DAY))
        if open_at and open_at - self.open_at >= EVIDENCE_STEP:
            self.put("told", str(open_at))

    def note_conversation(self, conversation: Conversation, version: Version | None = None) -> None:
        """Note configuration and status of a conversation; without a version only those that are not known yet."""
        if conversation.configuration_id and (version or not self.get("configuration_id")):
            self.put("configuration_id", conversation.configuration_id)
        if conversation.status and (version or not self.get("status")) and not self.is_closed:
            self.put("status", conversation.status)

    def note_recipient(self, recipient: Address) -> None:
        """Note our side's address on its channel."""
        self.put(recipient_field(recipient.channel), recipient.value)

    def recipient(self, channel: str) -> Address | None:
        """Return our side's address on a channel, or None if it is not known."""
        value = self.get(recipient_field(channel))
        return Address(channel, value) if value else None
