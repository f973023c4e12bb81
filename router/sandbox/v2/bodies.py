"""Request bodies of the v2 API as frozen models, with the API's limits: https://www.twilio.com/docs/api/conversations/v2.

(No `from __future__ import annotations`: pydantic evaluates them.)
"""

from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from router.core.addresses import Channel
from router.core.resources import ConversationStatus, ParticipantType
from router.sandbox.bodies import MAX_COUNT, Body, FreeJson, Text, TimeText, Url

MAX_METADATA: Final = 8

MetadataKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=MAX_METADATA)]
DisplayName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_ -]{1,32}$")]
Description = Annotated[str, StringConstraints(max_length=512)]
Grouping = Literal[
    "GROUP_BY_PROFILE",
    "GROUP_BY_PARTICIPANT_ADDRESSES",
    "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE",
]


class AddressBody(Body):
    """An address of a participant."""

    channel: Channel
    address: Text
    channel_id: str | None = None


class InlineParticipant(Body):
    """A participant of POST /Conversations, and the body of a PUT; no field is required."""

    type: ParticipantType | None = None
    name: str | None = None
    profile_id: str | None = None
    addresses: tuple[AddressBody, ...] | None = None


class NewParticipantBody(InlineParticipant):
    """The body of POST Participants."""

    addresses: tuple[AddressBody, ...]


class CallbackBody(Body):
    """A URL of status callbacks."""

    url: Url
    method: Literal["POST", "GET"] = "POST"


class TimeoutsBody(Body):
    """Minutes since the last communication."""

    inactive: int | None = Field(default=None, ge=1, le=MAX_COUNT)
    closed: int | None = Field(default=None, ge=1, le=MAX_COUNT)


class OrderedTimeouts(TimeoutsBody):
    """Timeouts of which `inactive` is the shorter one."""

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.inactive is not None and self.closed is not None and self.inactive >= self.closed:
            raise ValueError("inactive must be less than closed")
        return self


class ChannelSettingBody(Body):
    """Settings of one channel; capture rules are kept, but the sandbox captures on request only."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, FreeJson]

    status_timeouts: TimeoutsBody | None = None


class InlineTimeouts(OrderedTimeouts):
    """Timeouts of an inline configuration: `closed` is required, and later than `inactive`."""

    closed: int = Field(ge=1, le=MAX_COUNT)


class InlineChannelSetting(Body):
    """Settings of one channel, inline; capture rules are those of a Configuration."""

    status_timeouts: InlineTimeouts | None = None


class InlineConfiguration(Body):
    """The `configuration` of POST /Conversations: alone, or in place of parts of a Configuration."""

    conversation_grouping_type: Grouping | None = None
    memory_store_id: Text | None = None
    channel_settings: dict[Channel, InlineChannelSetting] | None = None
    memory_extraction_enabled: bool | None = None
    intelligence_configuration_ids: tuple[str, ...] | None = Field(default=None, max_length=5)
    status_callbacks: tuple[CallbackBody, ...] | None = Field(default=None, max_length=2)


class CaptureRuleBody(Body):
    """A capture rule; `*` stands for any address."""

    sender: Text = Field(alias="from")
    to: Text
    metadata: dict[str, str] | None = None


class PublicChannelSetting(ChannelSettingBody):
    """Settings of one channel in the control plane."""

    status_timeouts: OrderedTimeouts | None = None
    capture_rules: tuple[CaptureRuleBody, ...] | None = None


class BridgeBody(Body):
    """The classic service that a configuration bridges."""

    service_id: str = Field(pattern=r"^IS[0-9a-fA-F]{32}$")


class WholeConfiguration(Body):
    """A configuration as POST and PUT describe it."""

    display_name: DisplayName | None = None
    description: Description
    conversation_grouping_type: Grouping
    memory_store_id: Text
    channel_settings: dict[Channel, PublicChannelSetting] | None = None
    status_callbacks: tuple[CallbackBody, ...] | None = Field(default=None, max_length=2)
    intelligence_configuration_ids: tuple[str, ...] | None = Field(default=None, max_length=5)
    memory_extraction_enabled: bool | None = None
    conversations_v1_bridge: BridgeBody | None = Field(default=None, alias="conversationsV1Bridge")


class NewConfiguration(WholeConfiguration):
    """The body of POST Configurations."""

    display_name: DisplayName


class ReplaceConfiguration(WholeConfiguration):
    """The body of PUT Configurations/{id}."""

    channel_settings: dict[Channel, PublicChannelSetting]


class ConfigurationChange(Body):
    """A change of a configuration by the admin API, channel by channel; the grouping type is fixed."""

    display_name: str | None = None
    description: str | None = None
    memory_store_id: str | None = None
    channel_settings: dict[Channel, ChannelSettingBody | None] | None = None
    status_callbacks: tuple[CallbackBody, ...] | None = Field(default=None, max_length=20)
    conversation_grouping_type: str | None = None


class PatchConfigurationBody(Body):
    """The body of PATCH Configurations/{id}; null restores a default, or removes a channel."""

    conversation_grouping_type: str | None = None
    status_callbacks: tuple[CallbackBody, ...] | None = Field(default=None, max_length=20)

    display_name: DisplayName | None = None
    description: Description | None = None
    memory_store_id: Text | None = None
    channel_settings: dict[Channel, PublicChannelSetting | None] | None = None
    intelligence_configuration_ids: tuple[str, ...] | None = Field(default=None, max_length=5)
    memory_extraction_enabled: bool | None = None
    conversations_v1_bridge: BridgeBody | None = Field(default=None, alias="conversationsV1Bridge")


class NewConversation(Body):
    """The body of POST /Conversations."""

    configuration_id: str | None = None
    name: str | None = None
    participants: tuple[InlineParticipant, ...] | None = Field(default=None, max_length=50)
    metadata: Metadata | None = None
    configuration: InlineConfiguration | None = None


class ReplaceConversation(Body):
    """The body of PUT /Conversations/{id}."""

    status: ConversationStatus
    name: str | None = None
    metadata: Metadata | None = None


class PatchConfiguration(Body):
    """The one part of a conversation's configuration that can change; null restores the Configuration's."""

    status_callbacks: tuple[CallbackBody, ...] | None = Field(default=None, max_length=20)


class PatchConversation(Body):
    """The body of PATCH /Conversations/{id}; `model_fields_set` distinguishes null from absent."""

    name: str | None = None
    status: ConversationStatus | None = None
    metadata: dict[MetadataKey, MetadataValue | None] | None = None
    configuration: PatchConfiguration | None = None


class PartyBody(Body):
    """Author or recipient of a communication."""

    address: Text
    channel: Channel
    participant_id: str | None = None


class TranscriptionBody(Body):
    """Properties of a transcription: the audio channel (0 inbound, 1 outbound), and more that is kept as it came."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, FreeJson]

    channel: int | None = Field(default=None, ge=0, le=1)
    confidence: float | None = Field(default=None, ge=0.0, le=1.0)
    engine: str | None = None


class ContentBody(Body):
    """Text of a communication; `transcription` goes with the type TRANSCRIPTION only."""

    type: Literal["TEXT", "TRANSCRIPTION"]
    text: str
    transcription: TranscriptionBody | None = None


class NewCommunication(Body):
    """The body of POST Communications."""

    author: PartyBody
    content: ContentBody
    recipients: tuple[PartyBody, ...] = Field(min_length=1)
    channel_id: str | None = None
    resource_id: Text | None = None
    occurred_at: TimeText | None = None


class ActionPartyBody(Body):
    """One end of a message: a participant, its channel or address if it has several, or address and channel."""

    participant_id: str | None = None
    address: str | None = None
    channel: Channel | None = None

    @model_validator(mode="after")
    def _is_legal(self) -> Self:
        if self.participant_id is not None:
            return self
        if self.address and self.channel:
            return self
        raise ValueError("needs participantId, or address and channel")


class ActionContentBody(Body):
    """Content of an action; other keys are refused."""

    model_config = ConfigDict(extra="forbid")

    text: str | None = None
    content_id: str | None = None
    variables: dict[str, str] | None = None
    media_urls: tuple[str, ...] | None = None


class ActionPayload(Body):
    """Sender, recipients and content of an action; `channelSettings` are for the live API's downstream services."""

    sender: ActionPartyBody = Field(alias="from")
    to: tuple[ActionPartyBody, ...] = Field(min_length=1)
    content: ActionContentBody
    channel_settings: dict[str, FreeJson] | None = None


class NewAction(Body):
    """The body of POST Actions."""

    type: Literal["SEND_MESSAGE"]
    payload: ActionPayload


class ProfileLookup(Body):
    """The body of POST Profiles/Lookup of the Memory API."""

    id_type: str = Field(min_length=2, max_length=30)
    value: str = Field(min_length=1, max_length=255)


class NewProfile(Body):
    """The body of POST Profiles of the Memory API: trait group to trait to value."""

    traits: dict[str, dict[str, FreeJson]]


class Recall(Body):
    """The body of POST Recall of the Memory API."""

    observations_limit: int = Field(default=20, ge=0, le=100)
    summaries_limit: int = Field(default=5, ge=0, le=100)


class ObservationBody(Body):
    """A fact about a profile."""

    content: str = Field(min_length=1, max_length=4096)
    source: Text = "api"
    conversation_ids: tuple[str, ...] | None = Field(default=None, max_length=10)
    occurred_at: TimeText | None = None


class SummaryBody(Body):
    """A summary of a conversation."""

    content: str = Field(min_length=1, max_length=4096)
    source: Text = "api"
    conversation_id: str | None = None
    occurred_at: TimeText | None = None


class NewObservations(Body):
    """The body of POST Observations of the Memory API."""

    observations: tuple[ObservationBody, ...] = Field(min_length=1, max_length=100)


class NewSummaries(Body):
    """The body of POST ConversationSummaries of the Memory API."""

    summaries: tuple[SummaryBody, ...] = Field(min_length=1, max_length=100)
