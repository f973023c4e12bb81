"""Source `email`: mails posted by SendGrid Inbound Parse, parsed or raw.

The receiver reads a mail as a stream into one small `ReceivedMail` for each recipient of the envelope. Its JSON is the
body of the inbound entry, so neither attachments nor long texts enter Redis; the entries of a mail to several mailboxes
share all of it but the recipient. Sender and recipient are those of the envelope, never of the headers: `To` may name a
mailing list, may be forged, and omits blind copies. The provider gives a delivery no id, so the key is a digest of
Message-ID, sender, headers, content and recipient (`fingerprint`). The digest is also the message's `channelId`: if
one mail goes to two of our mailboxes, it finds the conversation of each. Automatic replies and bounces are disregarded
by name, because answering them could make a loop (https://www.rfc-editor.org/rfc/rfc3834).
Webhook: https://www.twilio.com/docs/sendgrid/for-developers/parsing-email/inbound-email
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from router.core.addresses import Address, Channel
from router.core.errors import UnreadableError, UnusableError
from router.core.events import (
    Cause,
    Content,
    Disregarded,
    Event,
    Identity,
    InboundEntry,
    Medium,
    MessageReceived,
    share,
)
from router.inbound.email.headers import without_comments
from router.inbound.email.mail import read_mail
from router.inbound.rows import IGNORED, JOINED, SAID, EventTypeRow
from router.inbound.webhook import Piece

if TYPE_CHECKING:
    from router.inbound.email.mail import ReceivedMail
    from router.inbound.webhook import Webhook

MAIL: Final = "mail.received"
_BOUNCE: Final = "a bounce: its envelope has no sender"
_AUTOMATIC: Final = "an automatic reply"
_REPLIED: Final = "auto-replied"
_GENERATED: Final = "auto-generated"
_PRECEDENCES: Final = frozenset({"auto_reply", "autoreply"})
#: The type of delivery reports and of receipts (https://www.rfc-editor.org/rfc/rfc6522).
_REPORT: Final = "multipart/report"
_DAEMON: Final = "mailer-daemon@"
#: What becomes of each event type (router.inbound.table).
ROWS: Final = (
    EventTypeRow(MAIL, (JOINED, SAID)),
    EventTypeRow(MAIL, IGNORED, _BOUNCE, kind="bounce"),
    EventTypeRow(MAIL, IGNORED, _AUTOMATIC, kind="automatic reply"),
)


def split(webhook: Webhook, account_id: str) -> list[Piece]:
    """Return one event for each recipient of a mail; several share what is equal for all of them."""
    mails = webhook.mails
    if len(mails) < 2:  # noqa: PLR2004 - nothing is shared
        return [Piece(identify(mail, account_id=account_id), mail.to_body()) for mail in mails]
    shared = share(mails[0].to_shared_body())
    return [Piece(identify(mail, account_id=account_id), mail.to_own_body(), shared) for mail in mails]


def identify(mail: ReceivedMail, *, account_id: str) -> Identity:
    """Return a mail's key and subject; a mail names no account, so it belongs to `account_id`."""
    recipient = Address(Channel.EMAIL, mail.recipient)
    key = f"{account_id}:email:{mail.delivery_id}"
    return Identity(account_id, key, f"{mail.customer.key}|{recipient.canonical}")


def normalize(entry: InboundEntry) -> Event:
    """Return the event of an inbound entry.

    Raises UnreadableError if the entry holds no mail, UnusableError if the mail has no sender or no recipient.
    """
    if entry.shared == b"":
        raise UnreadableError("the part of the mail that it shares with other entries is gone")
    try:
        mail = read_mail(entry.body, entry.shared)
    except ValidationError as error:
        raise UnreadableError("the entry does not hold a mail") from error
    cause = Cause(entry.source, MAIL, mail.mail_id, entry.key, entry.received_at, entry.event_id)
    reason = _automatic_because(mail)
    if reason:
        return Disregarded(cause, entry.account_id, reason)
    if not mail.customer.canonical or not mail.recipient.strip():
        raise UnusableError("the mail names no sender or no recipient")
    recipient = Address(Channel.EMAIL, mail.recipient)
    ends = (mail.customer, recipient)
    return MessageReceived(cause, entry.account_id, *ends, mail.delivery_id, content=_content(mail), name=mail.name)


def _content(mail: ReceivedMail) -> Content:
    """Return the text of a mail and the types of its other parts, whose content is not kept."""
    media = tuple(Medium(part.content_type or None) for part in mail.parts)
    return Content(mail.text, is_cut=mail.is_text_cut, media=media)


def _automatic_because(mail: ReceivedMail) -> str | None:
    """Return why this mail must not be answered, or None (RFC 3834 section 2, RFC 5321 section 4.5.5).

    What a program wrote on its own (`auto-generated`) may be a customer's form, and what comes over a list was written
    by a person.
    """
    if not mail.envelope_from:
        return _BOUNCE
    headers = mail.headers
    submitted = _keyword(headers.auto_submitted)
    # Exchange calls its out-of-office replies generated.
    is_suppressing = _keyword(headers.auto_response_suppress) not in {"", "none"}
    is_out_of_office = submitted == _GENERATED and headers.in_reply_to and is_suppressing
    is_automatic = (
        submitted == _REPLIED
        or is_out_of_office
        or headers.automatic_mark
        or headers.content_type == _REPORT
        or _keyword(headers.precedence).replace("-", "_") in _PRECEDENCES
        or mail.customer.canonical.startswith(_DAEMON)
    )
    return _AUTOMATIC if is_automatic else None


def _keyword(value: str | None) -> str:
    """Return the first word of a header, in lower case and without comments and parameters."""
    words = without_comments(value or "").partition(";")[0].split()
    return words[0].lower() if words else ""
