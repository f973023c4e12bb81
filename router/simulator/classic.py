"""Webhooks of Conversations (classic): every pre-action and post-action event with its parameters.

Builders are pure. SIDs are digests of the scene's members, so that several webhooks are about the same conversation
and member, and an equal webhook is a duplicate. Parameters by event:
https://www.twilio.com/docs/conversations-classic/conversations-webhooks.
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
#: The parameters of each event type beside the common ones.
PARAMETERS: Final[dict[str, tuple[str, ...]]] = {
    "onConversationAdd": (*_CONVERSATION, *_BINDINGS, *_AUTHOR, "MessageBody", "Media"),
    "onConversationAdded": ("ConversationSid", *_TIMES, *_CONVERSATION, *_BINDINGS, *_AUTHOR),
    "onConversationUpdate": ("ConversationSid", *_TIMES, *_CONVERSATION),
    "onConversationUpdated": ("ConversationSid", *_TIMES, *_CONVERSATION),
    "onConversationRemove": ("ConversationSid", *_TIMES, *_CONVERSATION),
    "onConversationRemoved": ("ConversationSid", *_TIMES, "DateRemoved", *_CONVERSATION),
    "onConversationStateUpdated": (
        *("ChatServiceSid", "ConversationSid", "MessagingServiceSid"),
        *("StateUpdated", "StateFrom", "StateTo", "Reason"),
    ),
    "onParticipantAdd": _MEMBER,
    "onParticipantAdded": (*_MEMBER, "ParticipantSid", "DateCreated"),
    "onParticipantUpdate": ("ParticipantSid", *_TIMES, *_MEMBER),
    "onParticipantUpdated": ("ParticipantSid", *_TIMES, *_MEMBER, "LastReadMessageIndex"),
    "onParticipantRemove": ("ParticipantSid", *_TIMES, *_MEMBER),
    "onParticipantRemoved": ("ParticipantSid", *_TIMES, "DateRemoved", *_MEMBER),
    "onMessageAdd": _MESSAGE,
    "onMessageAdded": (*_MESSAGE, "MessageSid", "MessagingServiceSid", "Index", "DateCreated"),
    "onMessageUpdate": (*_MESSAGE, *_MESSAGE_TIMES),
    "onMessageUpdated": (*_MESSAGE, *_MESSAGE_TIMES),
    "onMessageRemove": (*_MESSAGE, *_MESSAGE_TIMES),
    "onMessageRemoved": (*_MESSAGE, *_MESSAGE_TIMES, "DateRemoved"),
    "onDeliveryUpdated": _DELIVERY,
    "onUserAdded": (*_USER, "DateCreated", "isOnline", "isNotifiable"),
    "onUserUpdate": _USER,
    "onUserUpdated": (*_USER, "DateCreated", "isOnline", "isNotifiable"),
}


@dataclass(frozen=True, slots=True)
class ClassicScene:
    """The member, the conversation and the time (`now`, µs since 1970) that classic webhooks are about.

    The member is bound by `customer` and our `recipient`, both with the prefix of their channel, or is a chat user by
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
    #: SDK for a person or an inbound message, API for a REST call
    origin: str = "SDK"

    @property
    def channel(self) -> str:
        """Type of the member's binding, as the webhook spells it."""
        if self.customer is None:
            return "SMS" if self.projected else "CHAT"
        prefix, colon, _ = self.customer.partition(":")
        return prefix.upper() if colon else "EMAIL" if "@" in self.customer else "SMS"

    def sid(self, prefix: str, *parts: object) -> str:
        """Return a SID that is a digest of the member and `parts`."""
        text = "\0".join(str(part) for part in (self.customer, self.recipient, self.identity, *parts))
        return prefix + sha256(text.encode()).hexdigest()[:32]


def classic_webhook(event_type: str, scene: ClassicScene, **extra: str) -> SimulatedWebhook:
    """Return the webhook of an event type of PARAMETERS; `extra` adds or replaces parameters."""
    values = _values(scene)
    params: dict[str, str | None] = {
        "AccountSid": scene.account_sid,
        "EventType": event_type,
        "Source": scene.origin,
        "ClientIdentity": scene.identity if scene.origin == "SDK" else None,
        **{name: values[name] for name in PARAMETERS[event_type]},
        **extra,
    }
    given = {name: value for name, value in params.items() if value is not None}
    sid_name = {"onP": "ParticipantSid", "onM": "MessageSid", "onU": "UserSid"}.get(event_type[:3], "ConversationSid")
    return form(PATH, values[sid_name] or "", given)


def _values(scene: ClassicScene) -> dict[str, str | None]:
    """Return a value for every parameter that an event may have, None where the scene has none."""
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
