"""Webhooks of SendGrid Inbound Parse: a mail, posted parsed or raw, and signed as a security policy signs it.

The builder is pure. Fields are those of the provider's reference, in its order:
https://www.twilio.com/docs/sendgrid/for-developers/parsing-email/setting-up-the-inbound-parse-webhook. Signatures:
https://www.twilio.com/docs/sendgrid/for-developers/parsing-email/securing-your-parse-webhooks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import orjson

from router.simulator.http import NO_FAULT, Sender
from router.simulator.mail_keys import make_key, sign_mail
from router.simulator.messages import SimulatedWebhook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from router.simulator.http import SignatureFault

PATH: Final = "/webhooks/email"
#: The field of the whole mail in raw mode: the first name is the helper library's, the second the guide's.
RAW_FIELDS: Final = ("email", "rawEmail")
_BOUNCER: Final = "mailer-daemon@mx.example.com"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file attached to a mail."""

    name: str
    content: bytes
    content_type: str = "application/octet-stream"


def mail(
    *,
    sender: str,
    recipients: Sequence[str],
    subject: str,
    body: str,
    html: str | None = None,
    message_id: str | None = None,
    attachments: Sequence[Attachment] = (),
    charset: str = "utf-8",
    headers: Mapping[str, str] | None = None,
    raw_field: str | None = None,
) -> SimulatedWebhook:
    """Return the webhook of a mail.

    Without a `message_id` it is a digest of the mail, so that the same arguments make a duplicate. `sender` and
    `recipients` are those of the envelope; a bounce has no sender. `charset` is that of the text. `headers` are
    added to the mail's own (`Auto-Submitted`). A `raw_field` (one of RAW_FIELDS) holds the whole mail, unparsed.
    """
    message_id = message_id or message_id_of(sender, recipients, subject, body)
    message = _message(sender, recipients, subject, message_id, headers or {})
    fields = [
        ("headers", message.as_bytes().partition(b"\r\n\r\n")[0] + b"\r\n"),
        ("dkim", b"{@example.com : pass}"),
        ("to", ", ".join(recipients).encode()),
        ("from", (sender or _BOUNCER).encode()),
        ("sender_ip", b"192.0.2.1"),
        ("envelope", orjson.dumps({"to": list(recipients), "from": sender})),
        ("subject", subject.encode()),
        ("SPF", b"pass"),
    ]
    if raw_field is not None:
        fields = [*fields[1:], (raw_field, _raw(message, body, html, attachments, charset))]
        return _webhook(message_id, fields, ())
    texts = {"text": body} | ({"html": html} if html is not None else {})
    return _webhook(message_id, [*fields, *_content(texts, attachments, charset)], attachments)


def _content(texts: Mapping[str, str], attachments: Sequence[Attachment], charset: str) -> list[tuple[str, bytes]]:
    """Return the fields of a parsed mail's content, except the attachments themselves."""
    charsets = dict.fromkeys(("to", "from", "subject"), "UTF-8") | dict.fromkeys(texts, charset)
    infos = {
        f"attachment{number}": {"filename": each.name, "name": each.name, "type": each.content_type}
        for number, each in enumerate(attachments, start=1)
    }
    return [
        *((name, text.encode(charset)) for name, text in texts.items()),
        ("charsets", orjson.dumps(charsets)),
        ("attachments", str(len(attachments)).encode()),
        *([("attachment-info", orjson.dumps(infos))] if infos else []),
    ]


def message_id_of(sender: str, recipients: Sequence[str], subject: str, body: str) -> str:
    """Return a Message-ID that is a digest of the mail."""
    digest = sha256("\0".join((sender, *recipients, subject, body)).encode()).hexdigest()[:32]
    return f"<{digest}@simulated.example.com>"


def _message(
    sender: str, recipients: Sequence[str], subject: str, message_id: str, headers: Mapping[str, str]
) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["Message-ID"] = message_id
    message["From"] = Address(addr_spec=sender or _BOUNCER)
    message["To"] = [Address(addr_spec=recipient) for recipient in recipients]
    message["Subject"] = subject
    for name, value in headers.items():
        message[name] = value
    return message


def _raw(message: EmailMessage, body: str, html: str | None, attachments: Sequence[Attachment], charset: str) -> bytes:
    """Return the whole mail, as its sender sent it."""
    message.set_content(body, charset=charset)
    if html is not None:
        message.add_alternative(html, subtype="html", charset=charset)
    for each in attachments:
        kind, _, subtype = each.content_type.partition("/")
        message.add_attachment(each.content, maintype=kind, subtype=subtype, filename=each.name)
    return message.as_bytes()


def _webhook(
    message_id: str, fields: Sequence[tuple[str, bytes]], attachments: Sequence[Attachment]
) -> SimulatedWebhook:
    """Return the form; the boundary is a digest of the contents, so that it does not occur in them."""
    parts = [(f'name="{name}"', content) for name, content in fields]
    for number, each in enumerate(attachments, start=1):
        name = each.name.replace("\\", "").replace('"', "")
        disposition = f'name="attachment{number}"; filename="{name}"\r\nContent-Type: {each.content_type}'
        parts.append((disposition, each.content))
    boundary = f"xYzZY{sha256(b''.join(content for _, content in parts)).hexdigest()[:24]}"
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"
        for disposition, content in parts
    )
    body += f"--{boundary}--\r\n".encode()
    return SimulatedWebhook(PATH, message_id, f"multipart/form-data; boundary={boundary}", body)


class MailSender(Sender):
    """Signs mails with `private_key` at the time of `clock` (seconds since 1970), other webhooks as Twilio does."""

    def __init__(
        self,
        *,
        receiver_url: str,
        public_base_url: str,
        auth_token: str,
        private_key: EllipticCurvePrivateKey,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(receiver_url=receiver_url, public_base_url=public_base_url, auth_token=auth_token)
        self._private_key = private_key
        self._clock = clock

    def sign(self, webhook: SimulatedWebhook, fault: SignatureFault = NO_FAULT) -> tuple[str, dict[str, str], bytes]:
        """Return the path, the headers and the body of the request."""
        if webhook.path != PATH:
            return super().sign(webhook, fault)
        headers = {"Content-Type": webhook.content_type}
        if not fault.is_unsigned:
            key = make_key() if fault.has_wrong_token else self._private_key
            headers |= sign_mail(key, webhook.body, now=self._clock())
        return webhook.path, headers, webhook.body + b" " if fault.is_tampered else webhook.body
