"""The data of entries as pydantic models; readers import them from router.core.entries.

The JSON Schemas in config/schemas are generated from these models.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """Base of all models: unknown fields are ignored, so that readers keep working when fields are added."""

    model_config = ConfigDict(frozen=True, extra="ignore", serialize_by_alias=True)


class EntryAddress(Model):
    """A channel and an address on it, as Twilio writes it."""

    channel: str
    address: str


class EntryParticipantAddress(EntryAddress):
    """An address of a participant; `channel_id` correlates it with a call, message or classic conversation."""

    channel_id: str | None = None


class EntryConversation(Model):
    """The conversation; a field is null if finding it out would take an API call that the event does not need."""

    id: str
    configuration_id: str | None = None
    status: str | None = None
    classic_sid: str | None = None


class EntryParticipant(Model):
    """The participant, with the API's fields in snake_case."""

    id: str
    conversation_id: str
    account_id: str
    name: str | None = None
    type: str | None = None
    profile_id: str | None = None
    addresses: tuple[EntryParticipantAddress, ...] = ()
    created_at: str | None = None
    updated_at: str | None = None


class EntryCause(Model):
    """The inbound event behind the entry."""

    source: str
    event_type: str
    resource_id: str | None = None
    idempotency_key: str
    received_at: str
    event_id: str | None = None


class EntryData(Model):
    """The data that all types of entries carry."""

    type: ClassVar[str] = ""

    target: str = Field(description="ai-agent or human-agent")
    reason: str = Field(description="the routing rule that decided")
    account_id: str
    conversation: EntryConversation
    epoch: int = Field(default=0, description="rises by one whenever the conversation's holder changes")
    cause: EntryCause


class ParticipantData(EntryData):
    """An entry about one participant; `channel` and `address` are the customer's side, as Twilio writes it."""

    channel: str
    address: str
    is_withheld: bool = Field(default=False, description="the caller withholds the number; the address is a stand-in")
    external_user_id: str | None = Field(default=None, description="a WhatsApp user's id, if it is known")
    parent_external_user_id: str | None = Field(default=None, description="the same for a group of businesses")
    username: str | None = Field(default=None, description="chosen by the user, of a message")
    profile_name: str | None = Field(default=None, description="chosen by the user, of a message")
    recipient: EntryAddress | None = Field(default=None, description="our side, where known")
    participant: EntryParticipant


class JoinedData(ParticipantData):
    """Data of `participant.joined`."""

    type: ClassVar[str] = "participant.joined"
    origin: Literal["created", "found", "announced", "recovered"] = Field(
        description="created by us, found in the conversation, announced by Twilio, or recovered where Twilio did not"
    )
    opt_out: str | None = Field(
        default=None, description="STOP, START or HELP if the first message was that: Twilio has answered"
    )


class UpdatedData(ParticipantData):
    """Data of `participant.updated`: name, type, profile or addresses differ from the last announcement."""

    type: ClassVar[str] = "participant.updated"


class LeftData(ParticipantData):
    """Data of `participant.left`: the stay that `participant.joined` began has ended."""

    type: ClassVar[str] = "participant.left"


class EntryMedium(Model):
    """An attachment; a field is null if the source does not give it. The URL may require the account's credentials."""

    content_type: str | None = None
    url: str | None = None


class EntryLocation(Model):
    """A place that was shared, in degrees (WGS 84)."""

    latitude: float
    longitude: float
    address: str | None = None
    label: str | None = None


class EntryChoice(Model):
    """A tap on a button or in a list, or a form that was filled in (`data`)."""

    id: str | None = Field(default=None, description="the id that was given to the button or list item")
    title: str | None = None
    data: dict[str, Any] | None = None


class EntryReferral(Model):
    """The ad or post from which the customer began to write. Its media are not the message's."""

    source_type: str | None = Field(default=None, description="ad or post")
    source_id: str | None = None
    source_url: str | None = None
    headline: str | None = None
    body: str | None = None
    click_id: str | None = None
    media: tuple[EntryMedium, ...] = ()


class EntryCommunication(Model):
    """A communication. `id` is the API's, null while only the message is known; `channel_id` is the message or call."""

    id: str | None = None
    channel_id: str | None = None
    type: str = Field(default="TEXT", description="TEXT, TRANSCRIPTION, LOCATION, REPLY or a later type")
    text: str = ""
    is_text_cut: bool = Field(default=False, description="the text was longer than this entry carries")
    media: tuple[EntryMedium, ...] = ()
    location: EntryLocation | None = None
    reply: EntryChoice | None = None
    in_reply_to: str | None = Field(default=None, description="channel_id of the message that is answered")
    referral: EntryReferral | None = None
    opt_out: str | None = Field(default=None, description="STOP, START or HELP: Twilio has answered; do not answer")
    provider: dict[str, Any] = Field(default={}, description="further fields of the source, by its names")
    is_provider_cut: bool = Field(default=False, description="some of these fields did not fit")
    created_at: str | None = None


class CommunicationData(ParticipantData):
    """Data of `communication.received`: an announced participant wrote or spoke; for the conversation's holder.

    The participant has only its id, its type and the address that it used; `participant.joined` and
    `participant.updated` carry the rest.
    """

    type: ClassVar[str] = "communication.received"
    communication: EntryCommunication


class ClosedData(EntryData):
    """Data of `conversation.closed`, for the target that held the conversation; all stays in it have ended."""

    type: ClassVar[str] = "conversation.closed"
