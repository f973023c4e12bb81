"""The record of each v2 resource, and its wire form.

Records are mutable and private to the sandbox; responses and events get a JSON object made on the spot. Times are
moments (see clock); `text` writes them, since the number of fraction digits is a switch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from router.core.resources import ConversationStatus, ParticipantAddress
from router.sandbox.indexes import OwnerIndex, Timeline
from router.sandbox.v2.grouping import NO_ANCHORS, NO_KEYS, Anchors, GroupingKeys, GroupingMember

if TYPE_CHECKING:
    from router.sandbox.bodies import Wire

#: Writes a moment as the API's time.
TimeText = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Callback:
    """A URL of status callbacks."""

    url: str
    method: str = "POST"

    def to_wire(self) -> Wire:
        """Return the JSON object of the API."""
        return {"url": self.url, "method": self.method}


@dataclass(frozen=True, slots=True)
class ConversationSettings:
    """The effective configuration of a conversation; the conversations of one Configuration share it.

    `timeouts` maps a channel to its (inactive, closed) minutes.
    """

    configuration_id: str | None
    grouping: str
    timeouts: dict[str, tuple[int | None, int | None]]
    callbacks: tuple[Callback, ...]
    wire: Wire


@dataclass(slots=True)
class ConfigurationRecord:
    """A Configuration, and the settings that conversations get from it."""

    id: str
    moment: int
    updated_at: int
    version: int
    settings: ConversationSettings

    def to_wire(self, text: TimeText) -> Wire:
        """Return the JSON object of the API."""
        times = {"createdAt": text(self.moment), "updatedAt": text(self.updated_at), "version": self.version}
        return {"id": self.id} | self.settings.wire | times


@dataclass(slots=True)
class ParticipantRecord:
    """A participant, with the grouping keys that its conversation holds because of it."""

    id: str
    moment: int
    updated_at: int
    conversation_id: str
    account_id: str
    type: str
    name: str | None
    profile_id: str | None
    addresses: tuple[ParticipantAddress, ...]
    keys: GroupingKeys = NO_KEYS

    def as_member(self) -> GroupingMember:
        """Return the participant as grouping compares it."""
        return GroupingMember(self.type, self.profile_id, canonical_pairs(self.addresses))

    def to_wire(self, text: TimeText, absent_name: str) -> Wire:
        """Return the JSON object of the API; `absent_name` is the switch for a participant without a name."""
        name = self.name
        if name is None and absent_name == "address" and self.addresses:
            name = self.addresses[0].address
        return {
            "id": self.id,
            "conversationId": self.conversation_id,
            "accountId": self.account_id,
            **({} if name is None and absent_name == "absent" else {"name": name}),
            "type": self.type,
            "profileId": self.profile_id,
            "addresses": [
                {"channel": each.channel, "address": each.address, "channelId": each.channel_id}
                for each in self.addresses
            ],
            "createdAt": text(self.moment),
            "updatedAt": text(self.updated_at),
        }


@dataclass(slots=True)
class CommunicationRecord:
    """A communication; `author`, `recipients` and `content` are in wire form, validated on arrival."""

    id: str
    moment: int
    updated_at: int
    conversation_id: str
    account_id: str
    author: Wire
    recipients: list[Wire]
    content: Wire
    channel_id: str | None
    resource_id: str | None
    occurred_at: str | None

    def to_wire(self, text: TimeText) -> Wire:
        """Return the JSON object of the API."""
        return {
            "id": self.id,
            "conversationId": self.conversation_id,
            "accountId": self.account_id,
            "author": self.author,
            "content": self.content,
            "channelId": self.channel_id,
            "resourceId": self.resource_id,
            "recipients": [dict(each) for each in self.recipients],
            "createdAt": text(self.moment),
            "updatedAt": text(self.updated_at),
            "occurredAt": self.occurred_at or text(self.moment),
        }


@dataclass(slots=True)
class ActionRecord:
    """An action; completing it adds to `related`."""

    id: str
    moment: int
    updated_at: int
    conversation_id: str
    type: str
    related: Wire
    status: str = "PENDING"
    completed_at: int | None = None
    failure_reason: str | None = None

    def to_wire(self, text: TimeText) -> Wire:
        """Return the JSON object of the API."""
        return {
            "id": self.id,
            "type": self.type,
            "status": self.status,
            "conversationId": self.conversation_id,
            "related": dict(self.related),
            "createdAt": text(self.moment),
            "updatedAt": text(self.updated_at),
            "completedAt": None if self.completed_at is None else text(self.completed_at),
            "failureReason": self.failure_reason,
        }


@dataclass(slots=True)
class ConversationRecord:
    """A conversation and its contents.

    `absent_customers` are customers whom capture did not make participants, on request: they hold grouping keys all
    the same. `absent_parties` maps the addresses of authors and recipients who are no participants to ids of their own.
    `resources` maps a resource id to its communication. Timers count from `timers_started_at` (see timers).
    """

    id: str
    moment: int
    updated_at: int
    account_id: str
    settings: ConversationSettings
    is_inline: bool
    name: str | None
    metadata: dict[str, str]
    timers_started_at: int
    callbacks: tuple[Callback, ...] | None = None
    status: str = ConversationStatus.ACTIVE
    anchors: Anchors = NO_ANCHORS
    participants: Timeline[ParticipantRecord] = field(default_factory=Timeline)
    addresses: OwnerIndex[str] = field(default_factory=OwnerIndex)
    communications: Timeline[CommunicationRecord] = field(default_factory=Timeline)
    resources: dict[str, str] = field(default_factory=dict)
    actions: dict[str, ActionRecord] = field(default_factory=dict)
    absent_parties: dict[str, str] = field(default_factory=dict)
    absent_customers: dict[GroupingMember, GroupingKeys] = field(default_factory=dict)
    traffic_channels: set[str] = field(default_factory=set)
    member_channels: set[str] = field(default_factory=set)
    timer_at: int | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the conversation is closed, which is final."""
        return self.status == ConversationStatus.CLOSED


@dataclass(slots=True)
class OperationRecord:
    """The operation of a 202 of the control plane."""

    id: str
    moment: int
    completes_at: int
    related: Wire


def canonical_pairs(addresses: tuple[ParticipantAddress, ...]) -> tuple[tuple[str, str], ...]:
    """Return addresses as pairs of channel and canonical value, as grouping compares them."""
    return tuple((each.channel, each.as_address().canonical) for each in addresses)
