"""One mail as the receiver has read it: what is kept of it, bounded, and what names it over redeliveries."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from router.core.addresses import Address, Channel

if TYPE_CHECKING:
    from collections.abc import Iterable


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


def digest(parts: Iterable[str]) -> str:
    """Return a short name of `parts`, different for different ones."""
    return sha256(b"".join(sha256(part.encode("utf-8", "surrogatepass")).digest() for part in parts)).hexdigest()[:32]
