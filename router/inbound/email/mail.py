"""One mail as the receiver has read it, with a bound on every field, and the id that is equal over redeliveries."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from router.core.addresses import Address, Channel
from router.inbound.email.headers import without_comments

if TYPE_CHECKING:
    from collections.abc import Iterable


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class MailHeaders(_Frozen):
    """The headers that are kept, decoded and with a bound; None for a missing one."""

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
    precedence: str | None = None
    content_type: str | None = Field(default=None, description="the mail's type, in lower case and without parameters")
    auto_response_suppress: str | None = None
    automatic_mark: str | None = Field(default=None, description="the first header that marks an automatic reply")


class MailPart(_Frozen):
    """An attachment or another part besides the text, without its content; `size` is in bytes."""

    name: str | None = None
    content_type: str = ""
    size: int = 0
    content_id: str | None = None


class Verdicts(_Frozen):
    """The provider's checks of the sender, as it reports them."""

    spf: str | None = None
    dkim: str | None = None
    spam_score: float | None = None
    sender_ip: str | None = None


class ReceivedMail(_Frozen):
    """One mail for one recipient.

    `envelope_from` is empty for a bounce. `text` is plain text, made from the HTML if `is_text_from_html`; the original
    was longer if `is_text_cut`. `part_count` may exceed the length of `parts`. `doubts` lists what was not as stated.
    `fingerprint` is a digest of what is equal over redeliveries: sender, headers and content, attachments included.
    `id_format` is 1 in entries of earlier versions, in whose id a Message-ID replaces the fingerprint.
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
    id_format: int = 1

    @property
    def customer(self) -> Address:
        """The sender of the envelope, or for a bounce the mailbox of `From`."""
        return Address(Channel.EMAIL, self.envelope_from or without_comments(self.headers.sender or ""))

    @property
    def mail_id(self) -> str:
        """The Message-ID, or else the fingerprint."""
        return self.headers.message_id or self.fingerprint

    @property
    def name(self) -> str | None:
        """A short id of this mail for all recipients, other than that of each mail with its Message-ID."""
        return None if self.id_format == 1 else digest((self.headers.message_id or "", self.fingerprint))

    @property
    def delivery_id(self) -> str:
        """A short id of this mail for this recipient, equal over redeliveries.

        The Message-ID alone does not tell mails apart: broken senders write `<>` or `<1@localhost>` into each.
        """
        recipient = Address(Channel.EMAIL, self.recipient).canonical
        if self.id_format == 1:
            return digest((self.mail_id, recipient))
        return digest((self.headers.message_id or "", self.fingerprint, recipient))

    def to_body(self) -> bytes:
        """Return the body of the inbound entry of a mail to one mailbox."""
        return self.model_dump_json(exclude_defaults=True).encode()

    def to_shared_body(self) -> bytes:
        """Return the part of the body that is equal for all recipients."""
        return self.model_copy(update={"recipient": ""}).to_body()

    def to_own_body(self) -> bytes:
        """Return the part of the body that is this recipient's own."""
        return _OwnPart(recipient=self.recipient).model_dump_json().encode()


class _OwnPart(_Frozen):
    recipient: str


def read_mail(body: bytes, shared: bytes | None) -> ReceivedMail:
    """Read the body of an inbound entry and the part that it shares, if any; raises ValidationError."""
    if shared is None:
        return ReceivedMail.model_validate_json(body)
    own = _OwnPart.model_validate_json(body)
    return _read_shared(shared).model_copy(update={"recipient": own.recipient})


@lru_cache(maxsize=4)  # the entries of a mail come one after another
def _read_shared(shared: bytes) -> ReceivedMail:
    return ReceivedMail.model_validate_json(shared)


def digest(parts: Iterable[str]) -> str:
    """Return a short digest of `parts`, different for different parts."""
    return sha256(b"".join(sha256(part.encode("utf-8", "surrogatepass")).digest() for part in parts)).hexdigest()[:32]
