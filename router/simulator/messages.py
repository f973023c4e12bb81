"""Webhooks of inbound messages and status callbacks of Conversations v2, as Twilio sends them.

Builders are pure and return a `SimulatedWebhook`, which `Sender` in http signs and posts. Parameters and payloads:
https://www.twilio.com/docs/messaging/guides/webhook-request,
https://www.twilio.com/docs/conversations/orchestrator/webhooks.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from router.core.addresses import Channel, canonicalize, read_user_id
from router.core.ids import make_id
from router.core.timestamps import to_text

_PREFIX: Final = {"whatsapp": "whatsapp:", "rcs": "rcs:", "messenger": "messenger:"}
_DAY_MILLIS: Final = 86_400_000
_FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class SimulatedWebhook:
    """A webhook before it is signed; `pairs` are the parameters of a form, `token` is Twilio's idempotency token."""

    path: str
    resource_id: str
    content_type: str
    body: bytes
    pairs: tuple[tuple[str, str], ...] = ()
    token: str | None = None


def message(
    kind: str, *, account_sid: str, sender: str, recipient: str, body: str, sid: str | None = None, **extra: str
) -> SimulatedWebhook:
    """Return the webhook of an inbound message; `kind` is sms, mms, whatsapp, rcs or messenger.

    Without a `sid` it is a digest of the message, so that the same arguments make a duplicate.
    """
    prefix = _PREFIX.get(kind, "")
    author, ours = (end if end.startswith(prefix) else prefix + end for end in (sender, recipient))
    sid = sid or message_sid(kind, author, ours, body)
    params = {
        "ToCountry": "US",
        "SmsMessageSid": sid,
        "NumMedia": "1" if kind == "mms" else "0",
        "SmsSid": sid,
        "SmsStatus": "received",
        "FromCountry": "US",
        "Body": body,
        "To": ours,
        "NumSegments": "1",
        "ReferralNumMedia": "0",
        "MessageSid": sid,
        "AccountSid": account_sid,
        "From": author,
        "ApiVersion": "2010-04-01",
        **_channel_params(kind, author, account_sid, sid),
        **extra,
    }
    return form("/webhooks/messaging", sid, params)


def user_id(sender: str) -> str:
    """Return the id of a WhatsApp user at `sender`: always the same one, or the id itself if it is one."""
    digest = int(sha256(canonicalize(Channel.WHATSAPP, sender).encode()).hexdigest(), 16)
    return read_user_id(Channel.WHATSAPP, sender) or f"US.{10**19 + digest % 10**19}"


def message_sid(kind: str, author: str, ours: str, body: str) -> str:
    """Return a MessageSid that is a digest of the message."""
    parts = (kind, author, ours, body)
    digest = sha256("\0".join(parts).encode()).hexdigest()[:32]
    return ("MM" if kind == "mms" else "SM") + digest


def _channel_params(kind: str, author: str, account_sid: str, sid: str) -> dict[str, str]:
    """Return the parameters that a channel adds to the common ones."""
    if kind in {"sms", "mms"}:
        place = {"ToCity": "", "ToState": "CA", "ToZip": "", "FromCity": "SAN FRANCISCO", "FromState": "CA"}
        place["FromZip"] = "94103"
        if kind == "mms":
            media = f"https://api.twilio.com/2010-04-01/Accounts/{account_sid}/Messages/{sid}/Media/ME{sid[2:]}"
            place |= {"MediaContentType0": "image/jpeg", "MediaUrl0": media}
        return place
    if kind == "whatsapp":
        number = author.removeprefix("whatsapp:").lstrip("+")
        profile = {"ProfileName": "Ana"} | ({"WaId": number} if number.isdecimal() else {})
        context = {"type": "whatsapp", "data": {"context": profile}}
        return {
            **profile,
            "MessageType": "text",
            "ChannelMetadata": orjson.dumps(context).decode(),
        }
    return {"MessageType": "text"} if kind == "rcs" else {}


def form(path: str, resource_id: str, params: dict[str, str]) -> SimulatedWebhook:
    """Return a webhook whose body is a form of `params`."""
    return SimulatedWebhook(path, resource_id, _FORM, urlencode(params).encode(), tuple(params.items()))


def callback(
    event_type: str,
    data: dict[str, Any],
    *,
    timestamp: str,
    token: str | None = None,
    path: str = "/webhooks/conversations",
) -> SimulatedWebhook:
    """Return a status callback with any `data`."""
    body = orjson.dumps({"eventType": event_type, "timestamp": timestamp, "data": data})
    return SimulatedWebhook(path, str(data.get("id", "")), "application/json", body, token=token)


@dataclass(frozen=True, slots=True)
class Scene:
    """The customer, our side, the resources and the time (`now`, µs since 1970) that status callbacks are about."""

    account_sid: str
    configuration_id: str
    channel: str
    customer: str
    recipient: str
    conversation_id: str
    participant_id: str
    now: int
    participant_type: str = "CUSTOMER"
    body: str = "hi"
    name: str | None = None
    recipient_id: str | None = None


def scene_id(prefix: str, text: str, now: int) -> str:
    """Return an id that is a digest of `text` and the day, so that several callbacks can be about one resource."""
    midnight = now // 1000 // _DAY_MILLIS * _DAY_MILLIS
    return make_id(prefix, millis=midnight, entropy=int(sha256(text.encode()).hexdigest(), 16))


def scene_callback(kind: str, scene: Scene, *, token: str | None = None) -> SimulatedWebhook:
    """Return a status callback about a scene; `kind` is the event's name (participant-added) or conversation-closed."""
    at = to_text(scene.now)
    event_type = kind.replace("-", "_").upper().replace("CONVERSATION_CLOSED", "CONVERSATION_UPDATED")
    if kind.startswith("conversation-"):
        status = "CLOSED" if kind == "conversation-closed" else "ACTIVE"
        data: dict[str, Any] = {
            "id": scene.conversation_id,
            "configurationId": scene.configuration_id,
            "status": status,
            "name": None,
        }
    elif kind.startswith("participant-"):
        data = {
            "id": scene.participant_id,
            "conversationId": scene.conversation_id,
            "name": scene.name or scene.customer,
            "type": scene.participant_type,
            "profileId": None,
            "addresses": [{"channel": scene.channel, "address": scene.customer, "channelId": None}],
        }
    else:
        data = _communication(scene)
    data |= {"accountId": scene.account_sid, "createdAt": at, "updatedAt": at}
    return callback(event_type, data, timestamp=at, token=token)


def _communication(scene: Scene) -> dict[str, Any]:
    author = {"address": scene.customer, "channel": scene.channel, "participantId": scene.participant_id}
    made_up = scene_id("conv_participant", f"{scene.conversation_id}{scene.recipient}", scene.now)
    ours = scene.recipient_id or made_up
    recipient = {"address": scene.recipient, "channel": scene.channel, "participantId": ours}
    return {
        "id": scene_id("conv_communication", f"{scene.conversation_id}{scene.body}", scene.now),
        "conversationId": scene.conversation_id,
        "author": author,
        "content": {"type": "TEXT", "text": scene.body},
        "channelId": None,
        "recipients": [recipient | {"deliveryStatus": "DELIVERED"}],
    }
