"""Source `email`: mails posted by SendGrid Inbound Parse, parsed or raw.

A mail is read as a stream at the door and comes out as one small `ReceivedMail` per recipient of its envelope; its JSON
is the body of the inbound entry, so neither attachments nor long texts ever enter Redis. The envelope decides who wrote
to whom, never the headers: `To` names mailing lists, lies, and leaves out blind copies. The key is the Message-ID with
the recipient, since the provider gives a delivery no id of its own; their digest is the mail's `channelId` too, so that
of one mail to two of our mailboxes each conversation can be told by it. Mails that answer machines wrote are
disregarded by name (RFC 3834): a bounce that gets an answer makes a loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from router.core.addresses import Address, Channel
from router.core.errors import UnreadableError, UnusableError
from router.core.events import Cause, Content, Disregarded, Event, Identity, InboundEntry, Medium, MessageReceived
from router.inbound.email.mail import ReceivedMail
from router.inbound.rows import IGNORED, JOINED, SAID, EventTypeRow
from router.inbound.webhook import Piece

if TYPE_CHECKING:
    from router.inbound.webhook import Webhook

MAIL: Final = "mail.received"
_BOUNCE: Final = "a bounce: its envelope has no sender"
_AUTOMATIC: Final = "an automatic reply"
#: What becomes of each event type (router.inbound.table).
ROWS: Final = (
    EventTypeRow(MAIL, (JOINED, SAID), "the latter without the mail's text"),
    EventTypeRow(MAIL, IGNORED, _BOUNCE, kind="bounce"),
    EventTypeRow(MAIL, IGNORED, _AUTOMATIC, kind="automatic reply"),
)


def split(webhook: Webhook, account_id: str) -> list[Piece]:
    """Return one event for each recipient of a mail."""
    return [Piece(identify(mail, account_id=account_id), mail.to_body()) for mail in webhook.mails]


def identify(mail: ReceivedMail, *, account_id: str) -> Identity:
    """Return whose mail it is, its key and its subject; the account is that of the route, a mail names none."""
    recipient = Address(Channel.EMAIL, mail.recipient)
    key = f"{account_id}:email:{mail.delivery_id}"
    return Identity(account_id, key, f"{mail.customer.key}|{recipient.canonical}")


def normalize(entry: InboundEntry) -> Event:
    """Return the event in an inbound entry.

    Raises UnreadableError if it holds no mail, UnusableError if nobody can be told to have written it.
    """
    try:
        mail = ReceivedMail.model_validate_json(entry.body)
    except ValidationError as error:
        raise UnreadableError("the entry does not hold a mail") from error
    cause = Cause(entry.source, MAIL, mail.mail_id, entry.key, entry.received_at)
    reason = _why_automatic(mail)
    if reason:
        return Disregarded(cause, entry.account_id, reason)
    if not mail.customer.canonical or not mail.recipient.strip():
        raise UnusableError("the mail names no sender or no recipient")
    recipient = Address(Channel.EMAIL, mail.recipient)
    return MessageReceived(cause, entry.account_id, mail.customer, recipient, mail.delivery_id, content=_content(mail))


def _content(mail: ReceivedMail) -> Content:
    """Return what may go on of a mail: that it has a text, which stays in the inbound entry, and the parts' types."""
    media = tuple(Medium(part.content_type or None) for part in mail.parts)
    return Content("", is_cut=bool(mail.text), media=media)


def _why_automatic(mail: ReceivedMail) -> str | None:
    """Return why nobody waits for an answer to this mail, if so (RFC 3834 2, RFC 5321 4.5.5)."""
    if not mail.envelope_from:
        return _BOUNCE
    said = (mail.headers.auto_submitted or "").partition(";")[0].strip().lower()
    return _AUTOMATIC if said == "auto-replied" else None
