"""The webhook simulator: what Twilio would send, with all parameters and a proper signature, to any receiver.

Builders are pure and return a `SimulatedWebhook`; `Sender` signs for what Twilio calls (PUBLIC_BASE_URL), posts to
where the receiver listens, and can misbehave on purpose. Parameters are those of Twilio's webhook reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import aiohttp
import orjson

from router.core.ids import make_id
from router.core.signing.twilio import base_urls, sign, voice_base
from router.core.timestamps import to_text

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

MESSAGE_KINDS: Final = ("sms", "mms", "whatsapp", "rcs", "messenger")
CALLBACK_KINDS: Final = (
    "conversation-created",
    "conversation-updated",
    "conversation-closed",
    "participant-added",
    "participant-updated",
    "participant-removed",
    "communication-created",
    "communication-updated",
)
_PREFIX: Final = {"whatsapp": "whatsapp:", "rcs": "rcs:", "messenger": "messenger:"}
_FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class SimulatedWebhook:
    """A webhook before it is signed: `pairs` of a form, or the `body` of a JSON callback."""

    path: str
    resource_id: str
    content_type: str
    body: bytes
    pairs: tuple[tuple[str, str], ...] = ()
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Spoiling:
    """How a webhook is spoiled: altered after signing, signed with another token, or not signed."""

    is_tampered: bool = False
    has_wrong_token: bool = False
    is_unsigned: bool = False


def message(
    kind: str, *, account_sid: str, sender: str, recipient: str, body: str, sid: str | None = None, **extra: str
) -> SimulatedWebhook:
    """Return an inbound message; without a `sid` the same words give the same message, so sending twice is a repeat."""
    prefix = _PREFIX.get(kind, "")
    origin, target = (one if one.startswith(prefix) else prefix + one for one in (sender, recipient))
    sid = sid or message_sid(kind, origin, target, body)
    params = {
        "ToCountry": "US",
        "SmsMessageSid": sid,
        "NumMedia": "1" if kind == "mms" else "0",
        "SmsSid": sid,
        "SmsStatus": "received",
        "FromCountry": "US",
        "Body": body,
        "To": target,
        "NumSegments": "1",
        "ReferralNumMedia": "0",
        "MessageSid": sid,
        "AccountSid": account_sid,
        "From": origin,
        "ApiVersion": "2010-04-01",
        **_extras(kind, origin, account_sid, sid),
        **extra,
    }
    return form("/webhooks/messaging", sid, params)


def message_sid(kind: str, origin: str, target: str, body: str) -> str:
    """Return a MessageSid that is a digest of the message."""
    parts = (kind, origin, target, body)
    digest = sha256("\0".join(parts).encode()).hexdigest()[:32]
    return ("MM" if kind == "mms" else "SM") + digest


def _extras(kind: str, origin: str, account_sid: str, sid: str) -> dict[str, str]:
    """Return the parameters that a channel adds."""
    if kind in {"sms", "mms"}:
        place = {"ToCity": "", "ToState": "CA", "ToZip": "", "FromCity": "SAN FRANCISCO", "FromState": "CA"}
        place["FromZip"] = "94103"
        if kind == "mms":
            media = f"https://api.twilio.com/2010-04-01/Accounts/{account_sid}/Messages/{sid}/Media/ME{sid[2:]}"
            place |= {"MediaContentType0": "image/jpeg", "MediaUrl0": media}
        return place
    if kind == "whatsapp":
        number = origin.removeprefix("whatsapp:").lstrip("+")
        context = {"type": "whatsapp", "data": {"context": {"ProfileName": "Ana", "WaId": number}}}
        return {
            "ProfileName": "Ana",
            "WaId": number,
            "MessageType": "text",
            "ChannelMetadata": orjson.dumps(context).decode(),
        }
    return {"MessageType": "text"} if kind == "rcs" else {}


def form(path: str, resource_id: str, params: dict[str, str]) -> SimulatedWebhook:
    """Return a form webhook."""
    return SimulatedWebhook(path, resource_id, _FORM, urlencode(params).encode(), tuple(params.items()))


def streamed(webhook: SimulatedWebhook, *, event_id: str, now: int, is_batch: bool = True) -> SimulatedWebhook:
    """Return what an Event Streams sink is sent about an inbound message whose form webhook is `webhook`."""
    params = dict(webhook.pairs)
    event = {
        "specversion": "1.0",
        "id": event_id,
        "type": "com.twilio.messaging.inbound-message.received",
        "source": f"/2010-04-01/Accounts/{params['AccountSid']}/Messages/{params['MessageSid']}.json",
        "time": to_text(now),
        "datacontenttype": "application/json",
        "dataschema": "https://events-schemas.twilio.com/Messaging.InboundMessageV1/8",
        "data": {
            "messageSid": params["MessageSid"],
            "accountSid": params["AccountSid"],
            "from": params["From"],
            "to": params["To"],
            "body": params["Body"],
            "numMedia": int(params["NumMedia"]),
            "numSegments": 1,
            "timestamp": to_text(now),
            "recipients": [],
        },
    }
    body = orjson.dumps([event] if is_batch else event)
    return SimulatedWebhook("/webhooks/event-streams", webhook.resource_id, "application/json", body)


def callback(
    event_type: str,
    data: dict[str, Any],
    *,
    timestamp: str,
    token: str | None = None,
    path: str = "/webhooks/conversations",
) -> SimulatedWebhook:
    """Return a status callback of Conversations v2."""
    body = orjson.dumps({"eventType": event_type, "timestamp": timestamp, "data": data})
    return SimulatedWebhook(path, str(data.get("id", "")), "application/json", body, token=token)


@dataclass(frozen=True, slots=True)
class Scene:
    """Who is talking in simulated callbacks, and when (`now` in µs since 1970)."""

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


def scene_id(prefix: str, text: str, now: int) -> str:
    """Return an id that is equal for equal `text`, so that several callbacks can be about the same resource."""
    return make_id(
        prefix, millis=now // 1000 // 86_400_000 * 86_400_000, entropy=int(sha256(text.encode()).hexdigest(), 16)
    )


def scene_callback(kind: str, scene: Scene, *, token: str | None = None) -> SimulatedWebhook:
    """Return the status callback of one of CALLBACK_KINDS for a scene."""
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
    recipient = {"address": scene.recipient, "channel": scene.channel, "deliveryStatus": "DELIVERED"}
    return {
        "id": scene_id("conv_communication", f"{scene.conversation_id}{scene.body}", scene.now),
        "conversationId": scene.conversation_id,
        "author": author,
        "content": {"type": "TEXT", "text": scene.body},
        "channelId": None,
        "recipients": [recipient],
    }


class Sender:
    """Signs and posts webhooks; an async context manager with one session.

    `receiver_url` is where the receiver listens, `public_base_url` what is signed, `auth_token` what signs.
    """

    def __init__(self, *, receiver_url: str, public_base_url: str, auth_token: str) -> None:
        self._receiver = receiver_url.rstrip("/")
        self._base = base_urls(public_base_url)[0]
        self._token = auth_token
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the session."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=256), timeout=aiohttp.ClientTimeout(total=15)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()

    def sign(self, webhook: SimulatedWebhook, fault: Spoiling = Spoiling()) -> tuple[str, dict[str, str], bytes]:
        """Return (path with query, headers, body) as they go over the wire."""
        path = webhook.path
        pairs = [(name.encode(), value.encode()) for name, value in webhook.pairs]
        if not webhook.pairs:
            path += f"?bodySHA256={sha256(webhook.body).hexdigest()}"
        token = "0" * 32 if fault.has_wrong_token else self._token
        headers = {"Content-Type": webhook.content_type, "User-Agent": "TwilioProxy/1.1"}
        if webhook.token:
            headers["I-Twilio-Idempotency-Token"] = webhook.token
        if not fault.is_unsigned:
            base = voice_base(self._base) if path == "/webhooks/voice" else self._base
            headers["X-Twilio-Signature"] = sign(token, base + path.encode(), pairs)
        body = webhook.body + b"&Tampered=1" if fault.is_tampered and webhook.pairs else webhook.body
        return path, headers, body + b" " if fault.is_tampered and not webhook.pairs else body

    async def send(self, webhook: SimulatedWebhook, fault: Spoiling = Spoiling()) -> tuple[int, bytes]:
        """Post it; returns status and body of the answer. Raises aiohttp.ClientError if there is none."""
        assert self._session is not None, "use it in `async with`"  # noqa: S101 - a slip of the programmer
        path, headers, body = self.sign(webhook, fault)
        async with self._session.post(self._receiver + path, data=body, headers=headers) as response:
            return response.status, await response.read()
