"""The sandbox's identity (account and credentials), and a switch for each unknown or contradictory behavior of the API.

Each switch defaults to the likeliest behavior; the other values show whether a client works with those too. Switches
can be changed at run time (`with_switches`), the identity cannot. Unknown names and values are refused.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Final, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass

from router.core.addresses import Channel
from router.core.resources import Configuration, ParticipantType
from router.sandbox.bodies import MAX_COUNT, MAX_SECONDS, Url

#: The configuration of a sandbox that is given none.
DEFAULT_CONFIGURATION_ID: Final = "conv_configuration_00000000000000000000000001"
#: The memory store of a configuration that names none.
DEFAULT_MEMORY_STORE_ID: Final = "mem_store_00000000000000000000000001"
#: The classic service of a sandbox that is given none.
DEFAULT_CLASSIC_SERVICE_SID: Final = "IS00000000000000000000000000000001"

_DEFAULT_CONFIGURATION: Final[dict[str, Any]] = {
    "id": DEFAULT_CONFIGURATION_ID,
    "displayName": "sandbox",
    "description": "The configuration that a sandbox starts with",
    "conversationGroupingType": "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE",
    "channelSettings": {},
    "statusCallbacks": [],
}

#: Fields that cannot be changed at run time.
IDENTITY: Final = frozenset(
    {"account_sid", "auth_token", "api_key", "api_secret", "configurations", "classic_service_sid"}
)

Fraction = Field(default=0.0, ge=0.0, le=1.0)
Seconds = Field(default=0.0, ge=0.0, le=MAX_SECONDS)


@dataclass(
    frozen=True, kw_only=True, config=ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")
)
class SandboxOptions:
    """Options of one sandbox; raises pydantic's ValidationError (a ValueError) for a wrong value.

    `auth_token` signs the callbacks. The API accepts two pairs of credentials: `account_sid` with `auth_token`, and
    `api_key` with `api_secret`. `configurations` are configuration objects in the API's own form, at least with an
    `id`. `classic_service_sid` is the only service of the classic API, and so its default service.
    """

    account_sid: str
    auth_token: str
    api_key: str
    api_secret: str
    configurations: tuple[Configuration | dict[str, Any], ...] = (_DEFAULT_CONFIGURATION,)
    classic_service_sid: str = Field(default=DEFAULT_CLASSIC_SERVICE_SID, pattern=r"^IS[0-9a-fA-F]{32}$")

    # participants
    default_participant_type: ParticipantType = ParticipantType.UNKNOWN
    put_semantics: Literal["replace", "merge"] = "replace"
    duplicate_address: Literal["conflict", "merge", "allow"] = "conflict"
    #: phone number or mailbox to profile id: the content of the memory store
    profiles: dict[str, str] = Field(default_factory=dict)
    #: a CUSTOMER who is not in the memory store gets a new profile
    create_profiles: bool = False

    #: name of a participant that was given none: its first address as written (as captured ones have), null, or no name
    absent_name: Literal["address", "null", "absent"] = "address"
    #: participantId of an author or recipient who is no participant: an id of its own, or null
    absent_party_id: Literal["made", "null"] = "made"

    # conversations
    inactive_blocks: bool = True
    closed_status: Literal[409, 400] = 409
    #: the timeout of a conversation with several channels
    channel_timeout: Literal["shortest", "longest"] = "shortest"
    #: an open conversation keeps the settings that its configuration had when it was opened
    pin_configuration: bool = True
    #: participant type of our own address in passive capture; None: no participant
    passive_agent_type: ParticipantType | None = ParticipantType.AGENT
    #: the next call of a participant: its address gets the new CallSid, or a new participant is added
    call_participant: Literal["reuse", "new"] = "reuse"

    # actions
    action_type: Literal["action-send-message", "SEND_MESSAGE"] = "action-send-message"
    action_outcome: Literal["COMPLETED", "FAILED"] = "COMPLETED"
    action_delay_seconds: float = Seconds
    #: a sent message is reported as INITIATED, then as DELIVERED
    delivery_updates: bool = True

    # what the API may refuse although its description allows it (v2/validation.py); off: it is taken
    #: channels on which no address is taken, such as EMAIL
    refused_channels: tuple[Channel, ...] = ()
    #: numbers must be E.164, mailboxes mailboxes, and no address longer than 254 characters
    strict_addresses: bool = False
    #: a CHAT address of a participant needs a channelId, and so does a message that is sent there
    chat_needs_channel_id: bool = False
    #: SEND_MESSAGE needs a text, a contentId or media
    action_needs_content: bool = False
    #: the status of these refusals
    validation_status: Literal[400, 422] = 400

    # answers
    #: auto: shape A, but B for a 401 of v2
    error_shape: Literal["auto", "A", "B", "C"] = "auto"
    form_status: Literal[415, 400] = 415
    list_order: Literal["descending", "ascending"] = "descending"
    #: the largest page of a list, whatever size was requested
    list_page_limit: int = Field(default=1000, ge=1, le=1000)
    #: a page token names a place in the list, or counts the records before it; then concurrent writes shift the pages
    page_tokens: Literal["place", "count"] = "place"
    embed_participants: bool = True
    fraction_digits: Literal[0, 3, 9] = 3
    #: 0: no limit
    rate_limit_per_second: int = Field(default=0, ge=0, le=MAX_COUNT)
    operation_seconds: float = Seconds

    # status callbacks
    events_for_api_writes: bool = True
    callback_order: Literal["in-order", "shuffled"] = "in-order"
    #: additional deliveries of each event
    callback_duplicates: int = Field(default=0, ge=0, le=10)
    callback_delay_seconds: float = Seconds
    callback_drop_fraction: float = Fraction
    callback_retries: int = Field(default=3, ge=0, le=MAX_COUNT)
    #: wait before the first retry; doubles with each
    callback_backoff_seconds: float = Field(default=1.0, ge=0.0, le=MAX_SECONDS)
    callback_timeout_seconds: float = Field(default=15.0, gt=0.0, le=MAX_SECONDS)

    # classic conversations (version 1)
    #: code of a 404: that of the resource (50350, 50432), or 20404 for all
    classic_not_found: Literal["specific", "generic"] = "specific"
    #: the largest page of ParticipantConversations
    classic_lookup_page_size: Literal[50, 1000] = 50
    classic_pre_webhook_url: Url | None = None
    classic_post_webhook_url: Url | None = None
    classic_webhook_method: Literal["POST", "GET"] = "POST"
    #: the event types that are sent; an empty list sends none
    classic_webhook_filters: tuple[str, ...] = ()
    classic_webhook_timeout_seconds: float = Field(default=5.0, gt=0.0, le=MAX_SECONDS)
    #: what becomes of a message that is sent to members who are no chat users
    classic_delivery_status: Literal["delivered", "read", "sent", "undelivered", "failed"] = "delivered"
    #: send the pre-action webhook for REST calls that enable webhooks, too
    classic_pre_for_api_writes: bool = False
    #: a message without a classic conversation opens one
    classic_auto_creation: bool = True
    #: a message of a classic conversation is captured into v2 as well, with the CH SID as channelId
    classic_bridge: bool = False

    # memory
    keep_closed: int = Field(default=10_000, ge=0, le=MAX_COUNT)
    keep_communications: int = Field(default=1_000, ge=1, le=MAX_COUNT)

    def switches(self) -> dict[str, Any]:
        """Return the switches under their wire names; the identity, and so every secret, is left out."""
        return {to_camel(name): getattr(self, name) for name in SWITCHES}

    def with_switches(self, changes: dict[str, Any]) -> SandboxOptions:
        """Return options with `changes` (wire or Python names).

        Raises ValueError for an unknown switch, ValidationError for a wrong value.
        """
        named = {_NAMES.get(name, name): value for name, value in changes.items()}
        unknown = sorted(set(named) - SWITCHES)
        if unknown:
            raise ValueError(f"not a switch: {', '.join(unknown)}")
        return replace(self, **named)


SWITCHES: Final = frozenset(field.name for field in fields(SandboxOptions)) - IDENTITY
_NAMES: Final = {to_camel(name): name for name in SWITCHES}
