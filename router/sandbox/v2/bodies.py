"""Request bodies of the public API as frozen models, with the API's limits; read once, at the edge.

Fields that a model does not name are ignored, as the API's description allows. A body that does not fit is refused
with a 400 that names the field. (Annotations are evaluated here: pydantic reads them.)
"""

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from router.core.addresses import Channel
from router.core.resources import ConversationStatus, ParticipantType
from router.sandbox.errors import RefusalError, invalid

if TYPE_CHECKING:
    from aiohttp import web

MAX_METADATA: Final = 8
_JSON_TYPES: Final = frozenset({"application/json", "text/json"})

Text = Annotated[str, StringConstraints(min_length=1)]
MetadataKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=MAX_METADATA)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+")]
Grouping = Literal[
    "GROUP_BY_PROFILE",
    "GROUP_BY_PARTICIPANT_ADDRESSES",
    "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE",
]


class Body(BaseModel):
    """What all bodies share."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True, extra="ignore")


class AddressBody(Body):
    """An address of a participant."""

    channel: Channel
    address: Text
    channel_id: str | None = None


class InlineParticipant(Body):
    """A participant inside POST /Conversations, and the body of a PUT, where nothing is required."""

    type: ParticipantType | None = None
    name: str | None = None
    profile_id: str | None = None
    addresses: tuple[AddressBody, ...] | None = None


class NewParticipantBody(InlineParticipant):
    """The body of POST Participants."""

    addresses: tuple[AddressBody, ...]


class CallbackBody(Body):
    """Where status callbacks go."""

    url: Url
    method: Literal["POST", "GET"] = "POST"


class TimeoutsBody(Body):
    """Minutes from the last communication."""

    inactive: int | None = Field(default=None, ge=1)
    closed: int | None = Field(default=None, ge=1)


class ChannelSettingBody(Body):
    """Settings of one channel; capture rules do not matter to a sandbox that is told what to capture."""

    model_config = ConfigDict(extra="allow")

    status_timeouts: TimeoutsBody | None = None


class InlineConfiguration(Body):
    """The `configuration` of POST /Conversations: alone, or over a Configuration."""

    conversation_grouping_type: Grouping | None = None
    memory_store_id: str | None = None
    channel_settings: dict[Channel, ChannelSettingBody] | None = None
    memory_extraction_enabled: bool | None = None
    intelligence_configuration_ids: tuple[str, ...] | None = Field(default=None, max_length=5)
    status_callbacks: tuple[CallbackBody, ...] | None = Field(default=None, max_length=2)


class ConfigurationChange(Body):
    """What the admin API can change of a configuration: channel by channel; the grouping type is fixed."""

    display_name: str | None = None
    description: str | None = None
    memory_store_id: str | None = None
    channel_settings: dict[Channel, ChannelSettingBody | None] | None = None
    status_callbacks: tuple[CallbackBody, ...] | None = Field(default=None, max_length=20)
    conversation_grouping_type: str | None = None


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
    """The only thing of a conversation's configuration that can change; null goes back to the Configuration's."""

    status_callbacks: tuple[CallbackBody, ...] | None = Field(default=None, max_length=20)


class PatchConversation(Body):
    """The body of PATCH /Conversations/{id}; `model_fields_set` tells null from absent."""

    name: str | None = None
    status: ConversationStatus | None = None
    metadata: dict[MetadataKey, MetadataValue | None] | None = None
    configuration: PatchConfiguration | None = None


class PartyBody(Body):
    """Author or recipient of a communication."""

    address: Text
    channel: Channel
    participant_id: str | None = None


class ContentBody(Body):
    """What was said; `transcription` only goes with TRANSCRIPTION."""

    type: Literal["TEXT", "TRANSCRIPTION"]
    text: str
    transcription: dict[str, Any] | None = None


class NewCommunication(Body):
    """The body of POST Communications."""

    author: PartyBody
    content: ContentBody
    recipients: tuple[PartyBody, ...] = Field(min_length=1)
    channel_id: str | None = None
    resource_id: Text | None = None
    occurred_at: str | None = None


class ActionPartyBody(Body):
    """Participant and channel, participant alone, or address and channel."""

    participant_id: str | None = None
    address: str | None = None
    channel: Channel | None = None

    @model_validator(mode="after")
    def _is_legal(self) -> Self:
        if self.participant_id is not None and self.address is None:
            return self
        if self.participant_id is None and self.address and self.channel:
            return self
        raise ValueError("needs participantId and channel, participantId alone, or address and channel")


class ActionContentBody(Body):
    """What an action sends; no other keys are allowed."""

    model_config = ConfigDict(extra="forbid")

    text: str | None = None
    content_id: str | None = None
    variables: dict[str, str] | None = None
    media_urls: tuple[str, ...] | None = None


class ActionPayload(Body):
    """Who sends what to whom; `channelSettings` would be handed downstream."""

    sender: ActionPartyBody = Field(alias="from")
    to: tuple[ActionPartyBody, ...] = Field(min_length=1)
    content: ActionContentBody
    channel_settings: dict[str, Any] | None = None


class NewAction(Body):
    """The body of POST Actions."""

    type: Literal["SEND_MESSAGE"]
    payload: ActionPayload


B = TypeVar("B", bound=BaseModel)


async def read_body(request: "web.Request", model: type[B], *, form_status: int) -> B:
    """Return the JSON body of `request` as `model`.

    Raises RefusalError: `form_status` for anything but JSON by its content type, 400 for what does not fit.
    """
    if request.content_type not in _JSON_TYPES and not request.content_type.endswith("+json"):
        raise RefusalError(form_status, f"Content-Type {request.content_type} is not supported, use application/json")
    return parse_body(await request.read(), model)


def parse_body(raw: bytes, model: type[B]) -> B:
    """Return `raw` JSON as `model`; raises RefusalError (400) that names the first field at fault."""
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise refuse(error) from error


def refuse(error: ValidationError) -> RefusalError:
    """Return the 400 for the first problem that pydantic found."""
    first = error.errors(include_url=False, include_context=False)[0]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    return invalid(field or "body", first["msg"])
