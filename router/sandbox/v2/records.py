"""What the sandbox keeps of each resource, and the wire form of each.

Records are mutable and private to the sandbox; what leaves is a JSON object made on the spot. Times are moments
(see clock), written by the `text` function that the caller passes, since the number of fraction digits is a switch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from router.core.resources import ConversationStatus, ParticipantAddress
from router.sandbox.indexes import OwnerIndex, Timeline
from router.sandbox.v2.grouping import NO_ANCHORS, NO_KEYS, Anchors, GroupingKeys, GroupingMember

#: Writes a moment as the API's time.
TimeText = Callable[[int], str]
Wire = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Callback:
    """Where status callbacks go."""

    url: str
    method: str = "POST"

    def wire(self) -> Wire:
        """Return the JSON object of the API."""
        return {"url": self.url, "method": self.method}


@dataclass(frozen=True, slots=True)
class ConversationSettings:
    """The effective configuration of a conversation; conversations of one configuration share one.

    `timeouts` maps a channel to its (inactive, closed) minutes.
    """

    configuration_id: str | None
    grouping: str
    timeouts: dict[str, tuple[int | None, int | None]]
    callbacks: tuple[Callback, ...]
    wire: Wire


@dataclass(slots=True)
class ConfigurationRecord:
    """A configuration and the settings that conversations get from it."""

    id: str
    moment: int
    updated: int
    version: int
    settings: ConversationSettings

    def to_wire(self, text: TimeText) -> Wire:
        """Return the JSON object of the API."""
        times = {"createdAt": text(self.moment), "updatedAt": text(self.updated), "version": self.version}
        return {"id": self.id} | self.settings.wire | times


@dataclass(slots=True)
class ParticipantRecord:
    """A participant, with the grouping keys that it gives its conversation."""

    id: str
    moment: int
    updated: int
    conversation_id: str
    account_id: str
    type: str
    name: str | None
    profile_id: str | None
    addresses: tuple[ParticipantAddress, ...]
    keys: GroupingKeys = NO_KEYS

    def as_member(self) -> GroupingMember:
        """Return what grouping looks at."""
        return GroupingMember(self.type, self.profile_id, canonical_pairs(self.addresses))

    def to_wire(self, text: TimeText) -> Wire:
        """Return the JSON object of the API."""
        return {
            "id": self.id,
            "conversationId": self.conversation_id,
            "accountId": self.account_id,
            "name": self.name,
            "type": self.type,
            "profileId": self.profile_id,
            "addresses": [
                {"channel": each.channel, "address": each.address, "channelId": each.channel_id}
                for each in self.addresses
            ],
            "createdAt": text(self.moment),
            "updatedAt": text(self.updated),
        }


@dataclass(slots=True)
class CommunicationRecord:
    """A communication; `author`, `recipients` and `content` are in wire form, checked when they came."""

    id: str
    moment: int
    updated: int
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
            "updatedAt": text(self.updated),
            "occurredAt": self.occurred_at or text(self.moment),
        }


@dataclass(slots=True)
class ActionRecord:
    """An action; `related` grows as it completes."""

    id: str
    moment: int
    updated: int
    conversation_id: str
    type: str
    related: Wire
    status: str = "PENDING"
    completed: int | None = None
    failure_reason: str | None = None

    def to_wire(self, text: TimeText) -> Wire:
        """Return the JSON object of the API."""
        wire: Wire = {
            "id": self.id,
            "type": self.type,
            "status": self.status,
            "conversationId": self.conversation_id,
            "related": dict(self.related),
            "createdAt": text(self.moment),
            "updatedAt": text(self.updated),
        }
        if self.completed is not None:
            wire["completedAt"] = text(self.completed)
        if self.failure_reason is not None:
            wire["failureReason"] = self.failure_reason
        return wire


@dataclass(slots=True)
class ConversationRecord:
    """A conversation and all that is in it.

    `ghosts` are customer sides that capture was told not to make participants of: they hold grouping keys all the
    same. `channels` are those with traffic, `member_channels` those of participants. `restarted` is when the timers
    began (see timers).
    """

    id: str
    moment: int
    updated: int
    account_id: str
    settings: ConversationSettings
    is_inline: bool
    name: str | None
    metadata: dict[str, str]
    restarted: int
    callbacks: tuple[Callback, ...] | None = None
    status: str = ConversationStatus.ACTIVE
    anchors: Anchors = NO_ANCHORS
    participants: Timeline[ParticipantRecord] = field(default_factory=Timeline)
    addresses: OwnerIndex[str] = field(default_factory=OwnerIndex)
    communications: Timeline[CommunicationRecord] = field(default_factory=Timeline)
    resources: dict[str, str] = field(default_factory=dict)
    actions: dict[str, ActionRecord] = field(default_factory=dict)
    ghosts: dict[GroupingMember, GroupingKeys] = field(default_factory=dict)
    channels: set[str] = field(default_factory=set)
    member_channels: set[str] = field(default_factory=set)
    timer_at: int | None = None

    @property
    def is_closed(self) -> bool:
        """Tell whether it is closed, which is final."""
        return self.status == ConversationStatus.CLOSED


@dataclass(slots=True)
class OperationRecord:
    """The work behind a 202 of the control plane."""

    id: str
    moment: int
    completes: int
    related: Wire


def canonical_pairs(addresses: tuple[ParticipantAddress, ...]) -> tuple[tuple[str, str], ...]:
    """Return addresses as grouping compares them."""
    return tuple((each.channel, each.as_address().canonical) for each in addresses)
