"""One authentic webhook per event source, and how it goes over the wire: what the security suite runs over.

A new source gets a row in SAMPLES. Signatures are made by Twilio's own validator, so nothing here trusts our signing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from multidict import MultiDict
from twilio.request_validator import RequestValidator

from router.core.events import SourceName
from router.sandbox.simulated_classic import ClassicScene, classic_webhook
from router.sandbox.simulator import Scene, SimulatedWebhook, message, scene_callback, streamed
from tests.conftest import ACCOUNT, TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = "https://hooks.example.com"
CUSTOMER, OURS = "+15551239876", "+15557654321"
WORDS = "the quick brown fox, confidentially"
OTHER_ACCOUNT = "AC000000000000000000000000000000ff"
NOW = 1_767_787_200_000_000

#: What no log line and no answer may ever show.
PRIVATE = (CUSTOMER, CUSTOMER[1:], OURS, OURS[1:], WORDS, "confidentially", TOKEN)


@dataclass(frozen=True)
class Request:
    """A request as it goes over the wire; `signature` None: not signed."""

    path: str
    content_type: str | None
    body: bytes
    signature: str | None

    def headers(self, **more: str) -> dict[str, str]:
        given = {"Content-Type": self.content_type, "X-Twilio-Signature": self.signature}
        return {name: value for name, value in given.items() if value is not None} | more

    def but(self, **changes) -> Request:
        return replace(self, **changes)


def is_form(webhook: SimulatedWebhook) -> bool:
    return bool(webhook.pairs)


def signature_of(url: str, webhook: SimulatedWebhook, token: str = TOKEN) -> str:
    """What Twilio would send; `url` is complete."""
    params = MultiDict(parse_qsl(webhook.body.decode(), keep_blank_values=True)) if is_form(webhook) else {}
    return RequestValidator(token).compute_signature(url, params)


def wire_path(webhook: SimulatedWebhook, path: str | None = None) -> str:
    """The path that Twilio calls: for JSON with the body's digest."""
    path = path or webhook.path
    joint = "&" if "?" in path else "?"
    return path if is_form(webhook) else f"{path}{joint}bodySHA256={sha256(webhook.body).hexdigest()}"


def signed(
    webhook: SimulatedWebhook,
    *,
    base: str = BASE,
    token: str = TOKEN,
    path: str | None = None,
    signs: str | None = None,
) -> Request:
    """A webhook as Twilio sends it to `path`, signed for `base`; `signs` is another path to sign instead."""
    sent = wire_path(webhook, path)
    signature = signature_of(base + (wire_path(webhook, signs) if signs else sent), webhook, token)
    return Request(sent, webhook.content_type, webhook.body, signature)


def sms(number: int = 1, account: str = ACCOUNT, **extra: str) -> SimulatedWebhook:
    sid = f"SM{number:032x}"
    return message("sms", account_sid=account, sender=CUSTOMER, recipient=OURS, body=WORDS, sid=sid, **extra)


def participant_added(number: int = 1, account: str = ACCOUNT) -> SimulatedWebhook:
    scene = Scene(
        account_sid=account,
        configuration_id="conv_configuration_00000000000000000000000001",
        channel="SMS",
        customer=CUSTOMER,
        recipient=OURS,
        conversation_id=f"conv_conversation_{number:026d}",
        participant_id=f"conv_participant_{number:026d}",
        now=NOW,
        name=WORDS,
    )
    return scene_callback("participant-added", scene)


def message_streamed(number: int = 1, account: str = ACCOUNT) -> SimulatedWebhook:
    return streamed(sms(number, account), event_id=f"EZ{number:032x}", now=NOW, is_batch=False)


def classic_message(number: int = 1, account: str = ACCOUNT) -> SimulatedWebhook:
    scene = ClassicScene(
        account_sid=account,
        service_sid=f"IS{1:032x}",
        now=NOW,
        customer=CUSTOMER,
        recipient=OURS,
        body=WORDS,
        index=number,
    )
    return classic_webhook("classic-message-added", scene)


#: source: function from (number, account) to an authentic webhook; another number gives another event.
SAMPLES: dict[SourceName, Callable[..., SimulatedWebhook]] = {
    SourceName.MESSAGING: sms,
    SourceName.CONVERSATIONS: participant_added,
    SourceName.EVENT_STREAMS: message_streamed,
    SourceName.CLASSIC: classic_message,
}
