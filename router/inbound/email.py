"""Source `email`: mails posted by SendGrid Inbound Parse, parsed or raw.

A mail is read as a stream at the door and comes out as one small `ReceivedMail` per recipient of its envelope; its JSON
is the body of the inbound entry, so neither attachments nor long texts ever enter Redis. The envelope decides who wrote
to whom, never the headers: `To` names mailing lists, lies, and leaves out blind copies. The key is the Message-ID with
the recipient, since the provider gives a delivery no id of its own; their digest is the mail's `channelId` too, so that
of one mail to two of our mailboxes each conversation can be told by it. Mails that answer machines wrote are
disregarded by name (RFC 3834): a bounce that gets an answer makes a loop.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router.core.addresses import Address, Channel
from router.core.errors import UnreadableError, UnusableError
from router.core.events import Cause, Content, Disregarded, Event, Identity, InboundEntry, Medium, MessageReceived
from router.inbound.rows import IGNORED, JOINED, SAID, EventTypeRow

if TYPE_CHECKING:
    from collections.abc import Iterable

MAIL: Final = "mail.received"
_BOUNCE: Final = "a bounce: its envelope has no sender"
_AUTOMATIC: Final = "an automatic reply"
#: What becomes of each event type (router.inbound.table).
ROWS: Final = (
    EventTypeRow(MAIL, (JOINED, SAID), "the latter without the mail's text"),
    EventTypeRow(MAIL, IGNORED, _BOUNCE, kind="bounce"),
    EventTypeRow(MAIL, IGNORED, _AUTOMATIC, kind="automatic reply"),
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class MailHeaders(_Frozen):
    """The headers that matter, decoded and bounded; None where there is none."""

    message_id: str | None = None
    in_reply_to: str | None = None
    references: str | None = None
    sender: str | None = Field(default=None, description="From")
    to: str | None = None
    cc: str | None = None
    date: str | None = None
    subject: str | None = None
    auto_submitted: str | None = None
    list_id: str | None = None


class MailPart(_Frozen):
    """What a mail carries besides its text: never the content; `size` is in bytes."""

    name: str | None = None
    content_type: str = ""
    size: int = 0
    content_id: str | None = None


class Verdicts(_Frozen):
    """What the provider found out about the sender, in its own words."""

    spf: str | None = None
    dkim: str | None = None
    spam_score: float | None = None
    sender_ip: str | None = None


class ReceivedMail(_Frozen):
    """One mail for one recipient.

    `envelope_from` is empty for a bounce. `text` is plain, made from the HTML where `is_text_from_html`; with
    `is_text_cut` it was longer. `part_count` may be more than `parts` lists. `doubts` says what was not as stated.
    `fingerprint` is of what stays equal over redeliveries, for mails without a Message-ID.
    """

    envelope_from: str
    recipient: str
    headers: MailHeaders
    text: str = ""
    is_text_from_html: bool = False
    is_text_cut: bool = False
    parts: tuple[MailPart, ...] = ()
    part_count: int = 0
    verdicts: Verdicts = Verdicts()
    doubts: tuple[str, ...] = ()
    fingerprint: str = ""

    @property
    def customer(self) -> Address:
        """Who wrote: the sender of the envelope, for a bounce the mailbox of `From`."""
        return Address(Channel.EMAIL, self.envelope_from or self.headers.sender or "")

    @property
    def mail_id(self) -> str:
        """The Message-ID, or the fingerprint of a mail without one."""
        return self.headers.message_id or self.fingerprint

    @property
    def delivery_id(self) -> str:
        """The name of this mail for this recipient: short, and equal over redeliveries."""
        return digest((self.mail_id, Address(Channel.EMAIL, self.recipient).canonical))

    def to_body(self) -> bytes:
        """Return the body of the inbound entry."""
        return self.model_dump_json(exclude_defaults=True).encode()


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


def digest(parts: Iterable[str]) -> str:
    """Return a short name of `parts`, different for different ones."""
    return sha256(b"".join(sha256(part.encode("utf-8", "surrogatepass")).digest() for part in parts)).hexdigest()[:32]
