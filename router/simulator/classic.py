"""Simulated webhooks of Conversations (classic): every event of the table, before and after, with its parameters.

Pure, like the builders of the simulator. SIDs are digests of who is in the scene, so that several webhooks are about
the same conversation and member, and the same webhook again is a repeat.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from router.core.timestamps import to_text
from router.simulator.messages import form

if TYPE_CHECKING:
    from router.simulator.messages import SimulatedWebhook

PATH: Final = "/webhooks/conversations-classic"

_CONVERSATION: Final = ("FriendlyName", "UniqueName", "Attributes", "ChatServiceSid", "MessagingServiceSid", "State")
_BINDINGS: Final = tuple(f"MessagingBinding.{part}Address" for part in ("Proxy", "", "Projected"))
_AUTHOR: Final = ("MessagingBinding.AuthorAddress",)
_MEMBER: Final = ("ConversationSid", "Identity", "RoleSid", "Attributes", *_BINDINGS, "MessagingBinding.Type")
_MESSAGE: Final = ("ConversationSid", "Body", "Author", "ParticipantSid", "Attributes", "Media")
_MESSAGE_TIMES: Final = ("MessageSid", "Index", "DateCreated", "DateUpdated")
_TIMES: Final = ("DateCreated", "DateUpdated")
_USER: Final = ("ChatServiceSid", "UserSid", "DateUpdated", "Identity", "RoleSid", "Attributes", "FriendlyName")
_DELIVERY: Final = (
    *("ConversationSid", "ChatServiceSid", "MessageSid", "DeliveryReceiptSid", "ChannelMessageSid", "ParticipantSid"),
    *("Status", "ErrorCode", *_TIMES),
)
#: Kind of `simulate`: event type, and its parameters beside the common ones.
EVENTS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "classic-conversation-add": ("onConversationAdd", (*_CONVERSATION, *_BINDINGS, *_AUTHOR, "MessageBody", "Media")),
    "classic-conversation-added": (
        "onConversationAdded",
        ("ConversationSid", *_TIMES, *_CONVERSATION, *_BINDINGS, *_AUTHOR),
    ),
    "classic-conversation-update": ("onConversationUpdate", ("ConversationSid", *_TIMES, *_CONVERSATION)),
    "classic-conversation-updated": ("onConversationUpdated", ("ConversationSid", *_TIMES, *_CONVERSATION)),
    "classic-conversation-remove": ("onConversationRemove", ("ConversationSid", *_TIMES, *_CONVERSATION)),
    "classic-conversation-removed": (
        "onConversationRemoved",
        ("ConversationSid", *_TIMES, "DateRemoved", *_CONVERSATION),
    ),
    "classic-state-updated": (
        "onConversationStateUpdated",
        (
            *("ChatServiceSid", "ConversationSid", "MessagingServiceSid"),
            *("StateUpdated", "StateFrom", "StateTo", "Reason"),
        ),
    ),
    "classic-participant-add": ("onParticipantAdd", _MEMBER),
    "classic-participant-added": ("onParticipantAdded", (*_MEMBER, "ParticipantSid", "DateCreated")),
    "classic-participant-update": ("onParticipantUpdate", ("ParticipantSid", *_TIMES, *_MEMBER)),
    "classic-participant-updated": (
        "onParticipantUpdated",
        ("ParticipantSid", *_TIMES, *_MEMBER, "LastReadMessageIndex"),
    ),
    "classic-participant-remove": ("onParticipantRemove", ("ParticipantSid", *_TIMES, *_MEMBER)),
    "classic-participant-removed": ("onParticipantRemoved", ("ParticipantSid", *_TIMES, "DateRemoved", *_MEMBER)),
    "classic-message-add": ("onMessageAdd", _MESSAGE),
    "classic-message-added": (
        "onMessageAdded",
        (*_MESSAGE, "MessageSid", "MessagingServiceSid", "Index", "DateCreated"),
    ),
    "classic-message-update": ("onMessageUpdate", (*_MESSAGE, *_MESSAGE_TIMES)),
    "classic-message-updated": ("onMessageUpdated", (*_MESSAGE, *_MESSAGE_TIMES)),
    "classic-message-remove": ("onMessageRemove", (*_MESSAGE, *_MESSAGE_TIMES)),
    "classic-message-removed": ("onMessageRemoved", (*_MESSAGE, *_MESSAGE_TIMES, "DateRemoved")),
    "classic-delivery-updated": ("onDeliveryUpdated", _DELIVERY),
    "classic-user-added": ("onUserAdded", (*_USER, "DateCreated", "isOnline", "isNotifiable")),
    "classic-user-update": ("onUserUpdate", _USER),
    "classic-user-updated": ("onUserUpdated", (*_USER, "DateCreated", "isOnline", "isNotifiable")),
}
CLASSIC_KINDS: Final = tuple(EVENTS)


@dataclass(frozen=True, slots=True)
class ClassicScene:
    """Who is in a classic conversation, and what happens at `now` (µs since 1970).

    The member is bound by `customer` at our `recipient`, both with the prefix of their channel, or is a chat user by
    `identity` (with a `projected` number in a group MMS). SIDs that are not given are digests.
    """

    account_sid: str
    service_sid: str
    now: int
    customer: str | None = None
    recipient: str | None = None
    identity: str | None = None
    projected: str | None = None
    body: str = "hi"
    index: int = 0
    state: str = "active"
    state_from: str = "active"
    reason: str = "TIMER"
    conversation_sid: str | None = None
    participant_sid: str | None = None
    message_sid: str | None = None
    #: SDK for what a person or an inbound message does, API for REST calls
    origin: str = "SDK"

    @property
    def channel(self) -> str:
        """The type of the member's binding, as the webhook spells it."""
        if self.customer is None:
            return "SMS" if self.projected else "CHAT"
        prefix, colon, _ = self.customer.partition(":")
        return prefix.upper() if colon else "EMAIL" if "@" in self.customer else "SMS"

    def sid(self, prefix: str, *parts: object) -> str:
        """Return a SID that is equal for equal members of the scene."""
        text = "\0".join(str(part) for part in (self.customer, self.recipient, self.identity, *parts))
        return prefix + sha256(text.encode()).hexdigest()[:32]


def classic_webhook(kind: str, scene: ClassicScene, **extra: str) -> SimulatedWebhook:
    """Return the webhook of one of CLASSIC_KINDS; `extra` adds parameters or replaces them."""
    event_type, names = EVENTS[kind]
    values = _values(scene)
    params: dict[str, str | None] = {
        "AccountSid": scene.account_sid,
        "EventType": event_type,
        "Source": scene.origin,
        "ClientIdentity": scene.identity if scene.origin == "SDK" else None,
        **{name: values[name] for name in names},
        **extra,
    }
    given = {name: value for name, value in params.items() if value is not None}
    kind_sid = {"onP": "ParticipantSid", "onM": "MessageSid", "onU": "UserSid"}.get(event_type[:3], "ConversationSid")
    return form(PATH, values[kind_sid] or "", given)


def _values(scene: ClassicScene) -> dict[str, str | None]:
    """Return every parameter that an event may have; None where the scene has none."""
    at = to_text(scene.now)
    conversation_sid = scene.conversation_sid or scene.sid("CH")
    message_sid = scene.message_sid or scene.sid("IM", conversation_sid, scene.body, scene.index)
    return {
        "ConversationSid": conversation_sid,
        "ParticipantSid": scene.participant_sid or scene.sid("MB", conversation_sid),
        "MessageSid": message_sid,
        "ChatServiceSid": scene.service_sid,
        "MessagingServiceSid": f"MG{scene.service_sid[2:]}",
        "RoleSid": "RL" + "0" * 31 + "1",
        "UserSid": scene.sid("US"),
        "DeliveryReceiptSid": f"DY{message_sid[2:]}",
        "ChannelMessageSid": f"SM{message_sid[2:]}",
        "FriendlyName": "sandbox",
        "UniqueName": f"sandbox-{conversation_sid[2:10]}",
        "Attributes": "{}",
        "Identity": scene.identity,
        "MessagingBinding.Address": scene.customer,
        "MessagingBinding.ProxyAddress": scene.recipient if scene.customer else None,
        "MessagingBinding.ProjectedAddress": scene.projected,
        "MessagingBinding.AuthorAddress": scene.customer,
        "MessagingBinding.Type": scene.channel,
        "MessageBody": scene.body,
        "Body": scene.body,
        "Author": scene.identity or scene.customer,
        "Media": None,
        "Index": str(scene.index),
        "LastReadMessageIndex": str(scene.index),
        "Status": "delivered",
        "ErrorCode": "0",
        "State": scene.state,
        "StateFrom": scene.state_from,
        "StateTo": scene.state,
        "Reason": scene.reason,
        "isOnline": "true",
        "isNotifiable": "false",
        **dict.fromkeys(("DateCreated", "DateUpdated", "DateRemoved", "StateUpdated"), at),
    }
