"""The resources of the Conversations API v2 as frozen models: participants, conversations and their contents.

Field names are camelCase on the wire and snake_case here. Unknown fields are kept (`model_extra`) and unknown enum
values are plain strings, because the API has grown both without notice. Only ids are required: list items and callbacks
can be partial. Times stay text (see core.timestamps).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from router.core.addresses import Address


class ParticipantType(StrEnum):
    """The types of participants. An open set: compare with ==, never assume that a value is one of these."""

    CUSTOMER = "CUSTOMER"
    AI_AGENT = "AI_AGENT"
    HUMAN_AGENT = "HUMAN_AGENT"
    AGENT = "AGENT"
    UNKNOWN = "UNKNOWN"


#: The participant types of our side of a conversation.
AGENT_TYPES: Final = frozenset({ParticipantType.AI_AGENT, ParticipantType.HUMAN_AGENT, ParticipantType.AGENT})


class ConversationStatus(StrEnum):
    """The states of a conversation. CLOSED is final; traffic makes an INACTIVE one ACTIVE again."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    CLOSED = "CLOSED"


class Resource(BaseModel):
    """Base of all models of the API."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="allow",
        frozen=True,
        coerce_numbers_to_str=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        """Treat null as missing, as the API does: callbacks have `addresses: null` where a list has no such field."""
        if isinstance(data, dict) and None in data.values():
            return {name: value for name, value in data.items() if value is not None}
        return data

    def to_wire(self) -> dict[str, Any]:
        """Return the API's JSON object: camelCase, without unset fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ParticipantAddress(Resource):
    """An address of a participant; `channel_id` correlates it with a call, a message or a classic conversation."""

    channel: str
    address: str
    channel_id: str | None = None

    @property
    def key(self) -> str:
        """`CHANNEL|canonical`, the same as `Address.key`."""
        return self.as_address().key

    def as_address(self) -> Address:
        """Return the value type that the core compares."""
        return Address(self.channel, self.address)


class NewParticipant(Resource):
    """The request body for a participant that is created, alone or with its conversation, or replaced by PUT."""

    type: str | None = None
    name: str | None = None
    profile_id: str | None = None
    addresses: tuple[ParticipantAddress, ...] = ()


class Participant(NewParticipant):
    """A participant as the API returns it and as callbacks carry it."""

    id: str
    conversation_id: str = ""
    account_id: str = ""
    created_at: str | None = None
    updated_at: str | None = None

    def has_address(self, address: Address) -> bool:
        """Return whether one of the addresses is `address` by (channel, canonical form)."""
        return any(own.key == address.key for own in self.addresses)

    def as_replacement(self, **changes: Any) -> NewParticipant:
        """Return the body of a PUT: all four fields, because PUT clears every field that it does not carry."""
        fields = {"type": self.type, "name": self.name, "profile_id": self.profile_id, "addresses": self.addresses}
        return NewParticipant(**(fields | changes))


class Conversation(Resource):
    """A conversation; `participants` may be missing although it has some, so None means "not reported"."""

    id: str
    account_id: str = ""
    configuration_id: str | None = None
    status: str | None = None
    name: str | None = None
    metadata: dict[str, str] | None = None
    configuration: dict[str, Any] | None = None
    participants: tuple[Participant, ...] | None = None
    created_at: str | None = None
    updated_at: str | None = None
    action_id: str | None = None


class CommunicationParty(Resource):
    """The author or a recipient of a communication; some are identified by participant id only."""

    address: str = ""
    channel: str = ""
    participant_id: str | None = None
    delivery_status: str | None = None

    def as_address(self) -> Address:
        """Return the value type that the core compares."""
        return Address(self.channel, self.address)


class Communication(Resource):
    """One message or utterance; `content` stays as it came (TEXT, TRANSCRIPTION or a later type).

    `resource_id` is the resource that the communication was recorded from; for a message its SID.
    """

    id: str
    conversation_id: str = ""
    account_id: str = ""
    author: CommunicationParty | None = None
    content: dict[str, Any] | None = None
    channel_id: str | None = None
    resource_id: str | None = None
    recipients: tuple[CommunicationParty, ...] = ()
    created_at: str | None = None
    updated_at: str | None = None


class Action(Resource):
    """An action, such as a message being sent: PENDING, COMPLETED or FAILED."""

    id: str
    type: str | None = None
    status: str | None = None
    conversation_id: str = ""
    related: dict[str, Any] | None = None
    failure_reason: str | None = None
    created_at: str | None = None
    updated_at: str | None = None


class ActionParty(Resource):
    """Sender or receiver of an action: participant and channel, participant alone, or address and channel."""

    participant_id: str | None = None
    address: str | None = None
    channel: str | None = None


class Configuration(Resource):
    """A configuration (never written here): how conversations are grouped, timed out and reported."""

    id: str
    display_name: str | None = None
    description: str | None = None
    conversation_grouping_type: str | None = None
    memory_store_id: str | None = None
    channel_settings: dict[str, Any] | None = None
    status_callbacks: tuple[dict[str, Any], ...] | None = None
    conversations_v1_bridge: dict[str, Any] | None = Field(default=None, alias="conversationsV1Bridge")
    version: int | None = None
    created_at: str | None = None
    updated_at: str | None = None

    def captures(self, channel: str) -> bool:
        """Return whether rules capture the traffic of a channel, besides what the router itself creates."""
        settings = (self.channel_settings or {}).get(channel)
        return bool(settings.get("captureRules")) if isinstance(settings, dict) else False

    def own_addresses(self) -> frozenset[Address]:
        """Return our addresses according to the capture rules: opposite a `*`, the named side is ours."""
        found = set()
        for channel, settings in (self.channel_settings or {}).items():
            rules = settings.get("captureRules") if isinstance(settings, dict) else None
            for rule in rules if isinstance(rules, list) else ():
                ends = {rule.get("from"), rule.get("to")} if isinstance(rule, dict) else set()
                if "*" in ends:
                    found |= {Address(channel, str(end)) for end in ends - {"*", None}}
        return frozenset(found)


__all__ = [
    "AGENT_TYPES",
    "Action",
    "ActionParty",
    "Communication",
    "CommunicationParty",
    "Configuration",
    "Conversation",
    "ConversationStatus",
    "NewParticipant",
    "Participant",
    "ParticipantAddress",
    "ParticipantType",
    "Resource",
]
