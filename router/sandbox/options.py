"""Who the sandbox is, and every switch for what is unknown or contradictory about the live API.

Each switch defaults to the likeliest behavior; turning one shows whether a program survives the other reading. The
switches can be changed while it runs (`with_switches`), who it is cannot. Refuses unknown names and values.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass

from router.core.resources import Configuration, ParticipantType

#: The configuration that a sandbox has where none is given.
DEFAULT_CONFIGURATION_ID: Final = "conv_configuration_00000000000000000000000001"
#: The classic service that a sandbox has where none is given.
DEFAULT_CLASSIC_SERVICE_SID: Final = "IS00000000000000000000000000000001"

_DEFAULT_CONFIGURATION: Final[dict[str, Any]] = {
    "id": DEFAULT_CONFIGURATION_ID,
    "displayName": "sandbox",
    "description": "The configuration that a sandbox starts with",
    "conversationGroupingType": "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE",
    "channelSettings": {},
    "statusCallbacks": [],
}

#: Fields that say who the sandbox is: fixed from start to end.
IDENTITY: Final = frozenset(
    {"account_sid", "auth_token", "api_key", "api_secret", "configurations", "classic_service_sid"}
)

Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+")]
Fraction = Field(default=0.0, ge=0.0, le=1.0)
Seconds = Field(default=0.0, ge=0.0)


@dataclass(
    frozen=True, kw_only=True, config=ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")
)
class SandboxOptions:
    """Options of one sandbox; raises pydantic's ValidationError (a ValueError) for a value that no switch has.

    `auth_token` signs the callbacks and, with `account_sid`, opens the API like `api_key` with `api_secret`.
    `configurations` are configuration objects in the API's own form, at least with an `id`. `classic_service_sid` is
    the one service of the classic API, and its default service.
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
    #: canonical phone or mailbox to profile id: the fake memory store
    profiles: dict[str, str] = Field(default_factory=dict)
    #: give a CUSTOMER that the memory store does not know a profile of its own
    create_profiles: bool = False

    # conversations
    inactive_blocks: bool = True
    closed_status: Literal[409, 400] = 409
    #: which timeout counts where a conversation has several channels
    channel_timeout: Literal["shortest", "longest"] = "shortest"
    #: an open conversation keeps the configuration with which it was opened
    pin_configuration: bool = True
    #: what passive capture makes of our own address; None: no participant at all
    passive_agent_type: ParticipantType | None = ParticipantType.AGENT
    #: the next call of a participant: its address gets the new CallSid, or there is a new participant
    call_participant: Literal["reuse", "new"] = "reuse"

    # actions
    action_type: Literal["action-send-message", "SEND_MESSAGE"] = "action-send-message"
    action_outcome: Literal["COMPLETED", "FAILED"] = "COMPLETED"
    action_delay_seconds: float = Seconds
    #: a sent message is reported as INITIATED, then as DELIVERED
    delivery_updates: bool = True

    # answers
    #: auto: shape A, and B for a 401
    error_shape: Literal["auto", "A", "B", "C"] = "auto"
    form_status: Literal[415, 400] = 415
    list_order: Literal["descending", "ascending"] = "descending"
    #: the most that one page of a list shows, whatever size was asked for
    list_page_limit: int = Field(default=1000, ge=1, le=1000)
    #: a token names a place in the list, or a count of what came before: then pages shift when others write
    page_tokens: Literal["place", "count"] = "place"
    embed_participants: bool = True
    fraction_digits: Literal[0, 3, 9] = 3
    #: 0: no limit
    rate_limit_per_second: int = Field(default=0, ge=0)
    operation_seconds: float = Seconds

    # status callbacks
    events_for_api_writes: bool = True
    callback_order: Literal["in-order", "shuffled"] = "in-order"
    #: how many times more each event is delivered
    callback_duplicates: int = Field(default=0, ge=0, le=10)
    callback_delay_seconds: float = Seconds
    callback_drop_fraction: float = Fraction
    callback_retries: int = Field(default=3, ge=0)
    #: wait before the first retry; doubles with each
    callback_backoff_seconds: float = Field(default=1.0, ge=0.0)
    callback_timeout_seconds: float = Field(default=15.0, gt=0.0)

    # classic conversations (version 1)
    #: of a 404: the code of the resource's kind (50350, 50432), or 20404 for all
    classic_not_found: Literal["specific", "generic"] = "specific"
    #: the largest page of ParticipantConversations
    classic_lookup_page_size: Literal[50, 1000] = 50
    classic_pre_webhook_url: Url | None = None
    classic_post_webhook_url: Url | None = None
    #: the events that are sent; none is none
    classic_webhook_filters: tuple[str, ...] = ()
    classic_webhook_timeout_seconds: float = Field(default=5.0, gt=0.0)
    #: ask the pre-action webhook about REST calls too that enable webhooks
    classic_pre_for_api_writes: bool = False
    #: a message that no classic conversation takes opens one
    classic_auto_creation: bool = True
    #: a message of a classic conversation comes in on v2 as well, with the CH sid as channelId
    classic_bridge: bool = False

    # memory
    keep_closed: int = Field(default=10_000, ge=0)
    keep_communications: int = Field(default=1_000, ge=1)

    def switches(self) -> dict[str, Any]:
        """Return the switches, without who the sandbox is and so without a secret, under their wire names."""
        return {to_camel(name): getattr(self, name) for name in SWITCHES}

    def with_switches(self, changes: dict[str, Any]) -> SandboxOptions:
        """Return options with `changes` (wire or Python names).

        Raises ValueError for a name that is no switch, ValidationError for a value that the switch does not have.
        """
        named = {_NAMES.get(name, name): value for name, value in changes.items()}
        unknown = sorted(set(named) - SWITCHES)
        if unknown:
            raise ValueError(f"not a switch: {', '.join(unknown)}")
        return replace(self, **named)


SWITCHES: Final = frozenset(field.name for field in fields(SandboxOptions)) - IDENTITY
_NAMES: Final = {to_camel(name): name for name in SWITCHES}
