"""One authentic webhook per event source, as it is sent: the samples of the security suite.

A new source gets a row in SAMPLES. Signatures are made by Twilio's own validator, and those of mails by the
cryptography package, so they do not depend on the project's signing. Tests name a token for every source: mails are
signed with a key pair that stands for the token, made once per run.
"""

from __future__ import annotations

import time
from base64 import b64encode
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from multidict import MultiDict
from twilio.request_validator import RequestValidator

from router.core.events import SourceName
from router.inbound.email.inbound_parse import MailReader
from router.inbound.sources import SOURCES
from router.simulator.classic import ClassicScene, classic_webhook
from router.simulator.event_streams import streamed_message
from router.simulator.mail import mail
from router.simulator.messages import Scene, SimulatedWebhook, message, scene_callback
from router.simulator.voice import call
from tests.support.accounts import ACCOUNT, BASE_URL, CUSTOMER, MAILBOX, OURS, TOKEN, WRITER

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS = "the quick brown fox, confidentially"
NOW = 1_767_787_200_000_000

#: Private data, which no log line and no answer may show.
PRIVATE = (CUSTOMER, CUSTOMER[1:], OURS, OURS[1:], WRITER, MAILBOX, WORDS, "confidentially", TOKEN)
_SIGNATURE = "X-Twilio-Signature"
_MAIL_SIGNATURE = "X-Twilio-Email-Event-Webhook-Signature"
_MAIL_TIMESTAMP = "X-Twilio-Email-Event-Webhook-Timestamp"


@dataclass(frozen=True)
class Request:
    """A request as it is sent; without `signature` it is unsigned. A mail has a `timestamp` too."""

    path: str
    content_type: str | None
    body: bytes
    signature: str | None
    timestamp: str | None = None
    signature_header: str = _SIGNATURE

    def headers(self, **more: str) -> dict[str, str]:
        given = {
            "Content-Type": self.content_type,
            self.signature_header: self.signature,
            _MAIL_TIMESTAMP: self.timestamp,
        }
        return {name: value for name, value in given.items() if value is not None} | more

    def but(self, **changes) -> Request:
        return replace(self, **changes)


def is_form(webhook: SimulatedWebhook) -> bool:
    return bool(webhook.pairs)


def is_mail(webhook: SimulatedWebhook) -> bool:
    return webhook.path == SOURCES[SourceName.EMAIL].path


@cache
def mail_key(token: str) -> ec.EllipticCurvePrivateKey:
    """The private key that stands for a token."""
    return ec.generate_private_key(ec.SECP256R1())


def public_key(token: str) -> str:
    """The public key of a token, as the setting has it."""
    key = mail_key(token).public_key()
    return b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def opened_by(*tokens: str) -> dict[str, str]:
    """The variables of a receiver that accepts webhooks signed with these tokens, or with their keys."""
    keys = [public_key(token) for token in tokens]
    return {"TWILIO_AUTH_TOKEN": ", ".join(tokens), "ROUTER_EMAIL_PUBLIC_KEYS": ", ".join(keys)}


def limited_to(size: int) -> dict[str, str]:
    """The variables of a receiver that accepts no larger bodies."""
    return {"ROUTER_MAX_BODY_BYTES": str(size), "ROUTER_MAX_MAIL_BYTES": str(size)}


def signature_of(url: str, webhook: SimulatedWebhook, token: str = TOKEN) -> str:
    """The signature that Twilio would send; `url` is complete."""
    params = MultiDict(parse_qsl(webhook.body.decode(), keep_blank_values=True)) if is_form(webhook) else {}
    return RequestValidator(token).compute_signature(url, params)


def wire_path(webhook: SimulatedWebhook, path: str | None = None) -> str:
    """The path that Twilio calls; for JSON with the digest of the body."""
    path = path or webhook.path
    joint = "&" if "?" in path else "?"
    return (
        path if is_form(webhook) or is_mail(webhook) else f"{path}{joint}bodySHA256={sha256(webhook.body).hexdigest()}"
    )


def signed(
    webhook: SimulatedWebhook,
    *,
    base: str = BASE_URL,
    token: str = TOKEN,
    path: str | None = None,
    signs: str | None = None,
) -> Request:
    """A webhook as Twilio sends it to `path`, signed for `base`, and for the path `signs` if that is given."""
    sent = wire_path(webhook, path)
    if is_mail(webhook):
        return signed_mail(webhook, token=token).but(path=sent)
    signature = signature_of(base + (wire_path(webhook, signs) if signs else sent), webhook, token)
    return Request(sent, webhook.content_type, webhook.body, signature)


def by_get(webhook: SimulatedWebhook, path: str | None = None, *, token: str = TOKEN, base: str = BASE_URL) -> Request:
    """A form as Twilio sends it with GET: the parameters are in the query, and the URL alone is signed."""
    target = f"{path or webhook.path}?{webhook.body.decode()}"
    return Request(target, None, b"", RequestValidator(token).compute_signature(base + target, {}))


def signed_mail(webhook: SimulatedWebhook, *, token: str = TOKEN, at: float | None = None) -> Request:
    """A mail signed by the provider's security policy, which covers the time and the body but not the URL."""
    timestamp = str(int(time.time() if at is None else at))
    signature = b64encode(mail_key(token).sign(timestamp.encode() + webhook.body, ec.ECDSA(SHA256()))).decode()
    return Request(webhook.path, webhook.content_type, webhook.body, signature, timestamp, _MAIL_SIGNATURE)


def entry_body(webhook: SimulatedWebhook) -> bytes:
    """The body of a webhook's inbound entry: the raw body, or the parsed mail."""
    if not is_mail(webhook):
        return webhook.body
    reader = MailReader(webhook.content_type)
    reader.feed(webhook.body)
    (received,) = reader.finish()
    return received.to_body()


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
    return streamed_message(sms(number, account), event_id=f"EZ{number:032x}", now=NOW, is_batch=False)


def mail_received(number: int = 1, account: str = ACCOUNT) -> SimulatedWebhook:
    """A mail; its mailbox decides its account, so `account` changes nothing."""
    name = f"<555.{number}@mail.example.com>"
    return mail(sender=WRITER, recipients=[MAILBOX], subject=WORDS, body=WORDS, message_id=name)


def incoming_call(number: int = 1, account: str = ACCOUNT) -> SimulatedWebhook:
    sid = f"CA{number:032x}"
    return call(account_sid=account, sender=CUSTOMER, recipient=OURS, sid=sid, CallerName=WORDS)


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
    return classic_webhook("onMessageAdded", scene)


#: source: function that makes an authentic webhook from (number, account); another number makes another event.
SAMPLES: dict[SourceName, Callable[..., SimulatedWebhook]] = {
    SourceName.MESSAGING: sms,
    SourceName.VOICE: incoming_call,
    SourceName.CONVERSATIONS: participant_added,
    SourceName.EVENT_STREAMS: message_streamed,
    SourceName.EMAIL: mail_received,
    SourceName.CLASSIC: classic_message,
}
#: The sources whose signature covers the URL.
URL_SAMPLES = {name: sample for name, sample in SAMPLES.items() if name != SourceName.EMAIL}

#: The answers that depend on the webhook; all other samples get the answer in the table of sources.
ANSWERS: dict[SourceName, bytes] = {
    SourceName.VOICE: b'<?xml version="1.0" encoding="UTF-8"?><Response><Start><Transcription/></Start>'
    b"<Enqueue>callers</Enqueue></Response>"
}
