"""The resources of Conversations (classic), version 1 of the API, as frozen models, and its conflict codes.

Responses are snake_case, request forms dotted CamelCase. Unknown fields are kept (`model_extra`), unknown states are
plain strings, and only SIDs are required. A member is bound by an address and our proxy address, or is a chat user with
an identity. `attributes` is JSON in a string: untrusted and never parsed. Times stay text (see core.timestamps).
https://www.twilio.com/docs/conversations/api/conversation-participant-resource
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from router.core.addresses import Address, Channel, is_same, parse_address
from router.core.errors import ConflictError
from router.core.ids import SID_DIGITS
from router.core.resources import Resource

#: The member is in this conversation already (the second code: in a group MMS) and can be listed.
ALREADY_THERE: Final = frozenset({50433, 50437})
#: The pair of address and proxy address is bound in another open conversation.
#: https://www.twilio.com/docs/api/errors/50416
BOUND_ELSEWHERE: Final = 50416
#: A group conversation with the same members exists.
SAME_GROUP: Final = 50438
#: A concurrent change of the same resource; nothing was done.
CONCURRENT: Final = frozenset({50213, 50349, 50391, 50419})

#: As a field's value this removes the field: the API interprets the word.
REMOVE: Final = "null"

_CONVERSATION_SID: Final = re.compile(f"CH{SID_DIGITS}(?![0-9a-zA-Z])")
_PREFIX: Final[dict[str, str]] = {Channel.WHATSAPP: "whatsapp:", Channel.RCS: "rcs:"}
#: Binding types whose channel has another name; for all others it is the type in upper case.
_CHANNELS: Final = {"messenger": Channel.CHAT}


class ClassicState(StrEnum):
    """The states of a classic conversation. CLOSED is final; traffic makes an INACTIVE one ACTIVE again."""

    INITIALIZING = "initializing"
    ACTIVE = "active"
    INACTIVE = "inactive"
    CLOSED = "closed"


#: The states in which a conversation keeps its members' address pairs bound and accepts messages.
OPEN_STATES: Final = frozenset({ClassicState.INITIALIZING, ClassicState.ACTIVE, ClassicState.INACTIVE})


class ClassicResource(Resource):
    """Base of all responses: snake_case on the wire too, unknown fields kept."""

    model_config = ConfigDict(alias_generator=None)


class MessagingBinding(ClassicResource):
    """The addresses through which a member exchanges messages; fields that do not apply are None."""

    type: str | None = None
    address: str | None = None
    proxy_address: str | None = None
    projected_address: str | None = None
    name: str | None = None
    level: str | None = None

    @property
    def channel(self) -> str:
        """The channel of the addresses, as core.addresses names it; SMS if the type is missing."""
        kind = (self.type or "sms").lower()
        return _CHANNELS.get(kind, kind.upper())

    def as_address(self) -> Address | None:
        """Return the member's own address; a prefix in it takes precedence over the type."""
        return parse_address(self.address, self.channel) if self.address else None

    def as_proxy(self) -> Address | None:
        """Return our address; without a prefix its channel is that of the member's address."""
        own = self.as_address()
        channel = own.channel if own else self.channel
        return parse_address(self.proxy_address, channel) if self.proxy_address else None

    def as_projected(self) -> Address | None:
        """Return our number that represents a chat user in a group MMS."""
        return parse_address(self.projected_address, self.channel) if self.projected_address else None


class ClassicParticipant(ClassicResource):
    """A participant of a classic conversation; without `chat_service_sid` in the default service."""

    sid: str
    conversation_sid: str = ""
    account_sid: str = ""
    chat_service_sid: str | None = None
    identity: str | None = None
    attributes: str | None = None
    messaging_binding: MessagingBinding | None = None
    role_sid: str | None = None
    date_created: str | None = None
    date_updated: str | None = None
    url: str | None = None
    last_read_message_index: int | None = None
    last_read_timestamp: str | None = None


class ParticipantConversation(ClassicResource):
    """One row of ParticipantConversations: a conversation and somebody's membership in it."""

    conversation_sid: str
    participant_sid: str
    account_sid: str = ""
    chat_service_sid: str = ""
    participant_user_sid: str | None = None
    participant_identity: str | None = None
    participant_messaging_binding: MessagingBinding | None = None
    conversation_unique_name: str | None = None
    conversation_friendly_name: str | None = None
    conversation_attributes: str | None = None
    conversation_created_by: str | None = None
    conversation_date_created: str | None = None
    conversation_date_updated: str | None = None
    conversation_state: str | None = None
    conversation_timers: dict[str, str] | None = None
    links: dict[str, str] | None = None

    def has_proxy(self, proxy: Address) -> bool:
        """Return whether our address in the membership is `proxy`, by channel and canonical form."""
        binding = self.participant_messaging_binding
        own = binding.as_proxy() if binding else None
        return own is not None and is_same(own, proxy)


class ClassicConversation(ClassicResource):
    """A classic conversation, as far as this project reads it."""

    sid: str
    account_sid: str = ""
    chat_service_sid: str | None = None
    messaging_service_sid: str | None = None
    friendly_name: str | None = None
    unique_name: str | None = None
    attributes: str | None = None
    state: str | None = None
    timers: dict[str, str] | None = None
    date_created: str | None = None
    date_updated: str | None = None
    url: str | None = None
    links: dict[str, str] | None = None


class ClassicMessage(ClassicResource):
    """A message of a classic conversation; `participant_sid` is None if no participant wrote it."""

    sid: str
    conversation_sid: str = ""
    account_sid: str = ""
    author: str | None = None
    body: str | None = None
    participant_sid: str | None = None
    index: int | None = None
    attributes: str | None = None
    date_created: str | None = None
    date_updated: str | None = None


class ClassicChange(BaseModel):
    """The form of a participant's update; None leaves a field unchanged, REMOVE removes an address."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    identity: str | None = None
    proxy_address: str | None = None
    projected_address: str | None = None
    attributes: str | None = None
    role_sid: str | None = None
    date_created: str | None = None
    date_updated: str | None = None
    last_read_message_index: int | None = None
    last_read_timestamp: str | None = None


class NewClassicParticipant(BaseModel):
    """The form of a new participant: a chat user by `identity`, or a pair of addresses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    identity: str | None = None
    address: str | None = None
    proxy_address: str | None = None
    projected_address: str | None = None
    attributes: str | None = None
    role_sid: str | None = None
    date_created: str | None = None
    date_updated: str | None = None


def spell(address: Address) -> str:
    """Format `address` as classic bindings do: canonical, with the prefix of its channel."""
    return f"{_PREFIX.get(address.channel, '')}{address.canonical}"


def find_conversation_sid(text: str) -> str | None:
    """Return the first classic conversation SID in a text, for example in a 50416 error's."""
    match = _CONVERSATION_SID.search(text)
    return match.group() if match else None


def is_already_there(error: BaseException) -> bool:
    """Return whether a create was refused because the member is in this conversation: list, and continue with it."""
    return isinstance(error, ConflictError) and error.code in ALREADY_THERE


def is_bound_elsewhere(error: BaseException) -> bool:
    """Return whether the pair is bound in another open conversation, which `error.conflicting_id` names."""
    return isinstance(error, ConflictError) and error.code == BOUND_ELSEWHERE


__all__ = [
    "ALREADY_THERE",
    "BOUND_ELSEWHERE",
    "CONCURRENT",
    "OPEN_STATES",
    "REMOVE",
    "SAME_GROUP",
    "ClassicChange",
    "ClassicConversation",
    "ClassicMessage",
    "ClassicParticipant",
    "ClassicResource",
    "ClassicState",
    "MessagingBinding",
    "NewClassicParticipant",
    "ParticipantConversation",
    "find_conversation_sid",
    "is_already_there",
    "is_bound_elsewhere",
    "spell",
]
