"""The resources of Conversations (classic), version 1 of the API, as frozen models, and how its conflicts read.

The wire has snake_case answers and dotted CamelCase forms. Unknown fields are kept (`model_extra`), unknown states are
plain strings, and only SIDs are required. A member is bound by an address and our proxy address, or is a chat user by
its identity. `attributes` is JSON in a string, untrusted, and stays one. Times stay text (see core.timestamps).
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from router.core.addresses import Address, Channel, is_same, parse_address
from router.core.errors import ConflictError
from router.core.resources import Resource

#: The member is in this conversation already (the second one: in a group MMS); its resource is there to be listed.
ALREADY_THERE: Final = frozenset({50433, 50437})
#: The pair of address and proxy address is bound in another conversation that is not closed.
BOUND_ELSEWHERE: Final = 50416
#: A group conversation of the same members exists.
SAME_GROUP: Final = 50438
#: Somebody else changed the same thing at this moment; nothing was done.
CONCURRENT: Final = frozenset({50213, 50349, 50391, 50419})

#: Sent as a field's value, this removes it; the API reads the word.
REMOVE: Final = "null"

_CONVERSATION_SID: Final = re.compile(r"CH[0-9a-fA-F]{32}(?![0-9a-zA-Z])")
_PREFIX: Final[dict[str, str]] = {Channel.WHATSAPP: "whatsapp:", Channel.RCS: "rcs:"}
#: Binding types whose channel has another name; the others are their own in upper case.
_CHANNELS: Final = {"messenger": Channel.CHAT}


class ClassicState(StrEnum):
    """The states of a classic conversation. CLOSED is final, traffic makes an INACTIVE one ACTIVE again."""

    INITIALIZING = "initializing"
    ACTIVE = "active"
    INACTIVE = "inactive"
    CLOSED = "closed"


#: The states in which a conversation holds the pairs of its members and can take a message.
OPEN_STATES: Final = frozenset({ClassicState.INITIALIZING, ClassicState.ACTIVE, ClassicState.INACTIVE})


class ClassicResource(Resource):
    """What the answers share: names on the wire as here, unknown ones kept."""

    model_config = ConfigDict(alias_generator=None)


class MessagingBinding(ClassicResource):
    """How a member exchanges messages; what does not apply is None."""

    type: str | None = None
    address: str | None = None
    proxy_address: str | None = None
    projected_address: str | None = None
    name: str | None = None
    level: str | None = None

    @property
    def channel(self) -> str:
        """The channel of the addresses in the words of core.addresses; SMS where the type is not told."""
        kind = (self.type or "sms").lower()
        return _CHANNELS.get(kind, kind.upper())

    def as_address(self) -> Address | None:
        """Return the member's own address; the prefix in it tells more than the type."""
        return parse_address(self.address, self.channel) if self.address else None

    def as_proxy(self) -> Address | None:
        """Return our address; without a prefix it is on the channel of the member's."""
        own = self.as_address()
        channel = own.channel if own else self.channel
        return parse_address(self.proxy_address, channel) if self.proxy_address else None

    def as_projected(self) -> Address | None:
        """Return the number of ours under which a chat user writes in a group MMS."""
        return parse_address(self.projected_address, self.channel) if self.projected_address else None


class ClassicParticipant(ClassicResource):
    """A Participant of a classic conversation; the default service's has no `chat_service_sid`."""

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
    """One conversation that somebody is a member of, together with the membership."""

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
        """Tell whether our side of the membership is `proxy`, by channel and canonical form."""
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
    """A message of a classic conversation; `participant_sid` is None where nobody in it wrote it."""

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
    """What an update of a Participant may write; None leaves a field as it is, REMOVE takes an address away."""

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
    """The fields of a Participant that is created: a chat user by `identity`, or a pair of addresses."""

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
    """Return `address` as classic bindings write it: canonical, with the prefix of its channel."""
    return f"{_PREFIX.get(address.channel, '')}{address.canonical}"


def find_conversation_sid(text: str) -> str | None:
    """Return the first classic conversation SID in a text, such as that of a refusal with code 50416."""
    match = _CONVERSATION_SID.search(text)
    return match.group() if match else None


def is_already_there(error: BaseException) -> bool:
    """Tell whether a create was refused because the member is in that very conversation: list, and go on with it."""
    return isinstance(error, ConflictError) and error.code in ALREADY_THERE


def is_bound_elsewhere(error: BaseException) -> bool:
    """Tell whether the pair is bound in another open conversation, which `error.conflicting_id` then names."""
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
