"""Reads one webhook of SendGrid Inbound Parse, chunk by chunk, into one ReceivedMail for each recipient.

Each field has a bound (`_KEPT`), whatever the size of the mail: attachments are counted and dropped, texts are cut. A
part is an attachment if it has a file name, if the provider numbered or lists it as one, or if it is of a type that no
field has: an attached mail and some inline pictures have no name. If a field is repeated, the first one counts. If a
charset is wrong, the text is decoded as well as possible. If there are too many recipients, the first ones are served.
All this is noted in `doubts`. A mail is unreadable only if its body is not complete multipart or its envelope has no
recipient.
Fields: https://www.twilio.com/docs/sendgrid/for-developers/parsing-email/inbound-email
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from router.core.addresses import Address, Channel
from router.core.errors import UnreadableError
from router.core.signing.form import REPLACEMENT
from router.inbound.email.fingerprint import make_fingerprint
from router.inbound.email.headers import drop_comments, find_mark, read_ids, without_comments
from router.inbound.email.mail import MailHeaders, MailPart, ReceivedMail, Verdicts
from router.inbound.email.multipart import MultipartReader, PartHeader, read_parameter
from router.inbound.email.raw_mail import MAX_HEADERS, MAX_PARTS, Leaf, RawMailReader, read_headers
from router.inbound.email.text import decode, decode_header, html_to_text
from router.inbound.json_body import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from email.message import Message

#: Bytes of text in an inbound entry.
MAX_TEXT: Final = 64 * 1024
#: Recipients of one envelope that are served; each becomes one inbound entry.
MAX_RECIPIENTS: Final = 100
#: Characters of a header value.
MAX_VALUE: Final = 2048
#: Characters of an encoded header value that are read; an encoded word needs up to 12 for one character.
_MAX_RAW_VALUE: Final = 12 * MAX_VALUE
#: Characters of the name, type or content id of a part.
MAX_NAME: Final = 256
_KIB: Final = 1024
#: The fields that are read, and the bytes that are kept of each; all other fields are dropped.
_KEPT: Final = {
    "envelope": 512 * _KIB,  # must be whole: 15,000 recipients of usual length
    "charsets": 4 * _KIB,
    "headers": MAX_HEADERS,
    "from": 8 * _KIB,
    "to": 8 * _KIB,
    "cc": 8 * _KIB,
    "subject": 8 * _KIB,
    "text": MAX_TEXT,
    "html": 4 * MAX_TEXT,
    "attachment-info": 128 * _KIB,
    "content-ids": 128 * _KIB,
    "SPF": _KIB,
    "dkim": 4 * _KIB,
    "spam_score": 64,
    "sender_ip": 64,
}
#: The provider's names of the attachments.
_ATTACHMENT: Final = re.compile(r"attachment[0-9]{1,9}", re.ASCII | re.IGNORECASE)
#: Types of fields, if a later one should come with its type.
_FIELD_TYPES: Final = ("text/", "application/json")
#: The field with the whole mail in raw mode; the provider's library and its guide use different names.
_RAW: Final = frozenset({"email", "rawEmail"})


@dataclass(slots=True)
class _Field:
    """The first bytes of one field, whether it was longer, and the size and CRC-32 of all of it."""

    limit: int
    data: bytearray = field(default_factory=bytearray)
    is_cut: bool = False
    size: int = 0
    checksum: int = 0

    def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self.checksum = crc32(chunk, self.checksum)
        free = self.limit - len(self.data)
        self.data += chunk[:free]
        self.is_cut = self.is_cut or len(chunk) > free


@dataclass(slots=True)
class _File:
    """The headers of one part that may be an attachment, its size in bytes, and the CRC-32 of its content."""

    header: PartHeader
    size: int = 0
    checksum: int = 0

    def is_attachment(self, listed: Container[str]) -> bool:
        """Tell whether this is an attachment; `listed` are the names of parts that the provider lists as such."""
        name, kind = self.header.name, self.header.content_type.lower()
        has_file_type = kind != "" and not kind.startswith(_FIELD_TYPES)
        return self.header.filename is not None or has_file_type or name in listed or bool(_ATTACHMENT.fullmatch(name))

    @property
    def name(self) -> str | None:
        """The file name, else the name in the content type."""
        return self.header.filename or read_parameter(self.header.content_type.encode(), "name")

    def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self.checksum = crc32(chunk, self.checksum)


class MailReader:
    """Reads one webhook: `feed` every chunk of the body in order, then `finish`.

    Raises WrongTypeError if `content_type` is not multipart/form-data; every method may raise UnreadableError.
    """

    def __init__(self, content_type: str | None) -> None:
        self._fields: dict[str, _Field] = {}
        self._files: list[_File] = []
        self._raw: RawMailReader | None = None
        self._charsets: dict[str, Any] = {}
        self._doubts: list[str] = []
        self.left_out = 0  # recipients after the first MAX_RECIPIENTS, known once it is finished
        self._reader = MultipartReader(content_type, self._open)

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes of the body."""
        self._reader.feed(chunk)

    def finish(self) -> tuple[ReceivedMail, ...]:
        """Return the mail once for each of the first recipients of its envelope, otherwise equal."""
        self._reader.finish()
        sender, recipients = self._envelope()
        self._charsets = self._json("charsets")
        if self._raw is not None:
            self._raw.finish()
        message = self._raw.headers if self._raw is not None else read_headers(self._bytes("headers"))
        headers = self._headers(message)
        text, is_from_html, is_cut = self._text()
        parts, part_count = self._parts()
        mail = ReceivedMail(
            envelope_from=sender,
            recipient=recipients[0],
            headers=headers,
            text=text,
            is_text_from_html=is_from_html,
            is_text_cut=is_cut,
            parts=parts,
            part_count=part_count,
            verdicts=self._verdicts(),
            doubts=tuple(self._doubts),
            fingerprint=self._fingerprint(sender, headers, parts),
            id_format=2,
        )
        return tuple(mail.model_copy(update={"recipient": recipient}) for recipient in recipients)

    def close(self) -> None:
        """Let go of what was read; not needed, but a flood of large mails would fill the memory until it is found."""
        self._reader.close()

    def _open(self, header: PartHeader) -> Callable[[bytes], None]:
        """Return the sink for a part's content."""
        name = header.name
        if name in _RAW:
            if self._raw is not None:
                return self._drop_repeated(name)
            self._raw = RawMailReader(MAX_TEXT)
            return self._raw.write
        if header.filename is not None or name not in _KEPT:
            self._files.append(_File(header))
            return self._files[-1].write
        if name in self._fields:
            return self._drop_repeated(name)
        self._fields[name] = _Field(_KEPT[name])
        return self._fields[name].write

    def _drop_repeated(self, name: str) -> Callable[[bytes], None]:
        doubt = f"{name}: more than one, the first counts"
        if doubt not in self._doubts:
            self._doubts.append(doubt)
        return _drop

    def _envelope(self) -> tuple[str, list[str]]:
        """Return the sender (empty for a bounce) and the first recipients, each once."""
        envelope = self._json("envelope")
        to, sender = envelope.get("to"), envelope.get("from")
        listed = [to] if isinstance(to, str) else to if isinstance(to, list) else []
        recipients: dict[str, str] = {}
        for position, recipient in enumerate(listed):
            canonical = Address(Channel.EMAIL, recipient).canonical if isinstance(recipient, str) else ""
            if not canonical or REPLACEMENT in recipient or canonical in recipients:
                continue
            if len(recipients) == MAX_RECIPIENTS:
                self.left_out = len(listed) - position
                self._doubts.append(f"envelope: {len(listed)} recipients, the first {MAX_RECIPIENTS} are served")
                break
            recipients[canonical] = recipient.strip()
        if not recipients:
            raise UnreadableError("the envelope is missing or names no recipient")
        has_sender = isinstance(sender, str) and Address(Channel.EMAIL, sender).canonical
        if has_sender and REPLACEMENT in str(sender):
            raise UnreadableError("the envelope's sender is not UTF-8")
        return (str(sender).strip() if has_sender else ""), list(recipients.values())

    def _headers(self, message: Message[str, str]) -> MailHeaders:
        """Return the headers that are kept; those that also come as fields are already decoded there."""

        def pick(header: str, name: str | None = None, read: Callable[[str], str] = str) -> str | None:
            value = self._decode(name) if name else ""
            return (value or decode_header(read(message.get(header, "")[:_MAX_RAW_VALUE])))[:MAX_VALUE] or None

        drop_comments(message)
        return MailHeaders(
            message_id=pick("Message-ID", read=read_ids),
            in_reply_to=pick("In-Reply-To", read=read_ids),
            references=pick("References", read=read_ids),
            sender=pick("From", "from"),
            to=pick("To", "to"),
            cc=pick("Cc", "cc"),
            date=pick("Date"),
            subject=pick("Subject", "subject"),
            auto_submitted=pick("Auto-Submitted", read=without_comments),
            list_id=pick("List-Id", read=read_ids),
            precedence=pick("Precedence", read=without_comments),
            content_type=message.get_content_type()[:MAX_NAME] if "Content-Type" in message else None,
            auto_response_suppress=pick("X-Auto-Response-Suppress", read=without_comments),
            automatic_mark=find_mark(message),
        )

    def _text(self) -> tuple[str, bool, bool]:
        """Return the text, whether it was made from the HTML, and whether it was cut."""
        for name in ("text", "html"):
            data, charset, is_cut = self._content(name)
            if data.strip():
                decoded = decode(data, charset, is_cut=is_cut)
                if not decoded.is_as_stated:
                    self._doubts.append(f"{name}: not {str(charset or 'utf-8')[:40]} as stated")
                text = decoded.text if name == "text" else html_to_text(decoded.text)
                kept = text.encode()[:MAX_TEXT].decode("utf-8", "ignore")
                return kept, name == "html", is_cut or len(kept) < len(text)
        return "", False, False

    def _content(self, name: str) -> tuple[bytes, str | None, bool]:
        """Return the bytes of a text, its stated charset, and whether it was cut."""
        if self._raw is not None:
            leaf = self._raw.text if name == "text" else self._raw.html
            return (leaf.content(), leaf.charset, leaf.is_cut) if leaf is not None else (b"", None, False)
        kept = self._fields.get(name)
        return self._bytes(name), self._charset(name), kept is not None and kept.is_cut

    def _parts(self) -> tuple[tuple[MailPart, ...], int]:
        """Return names, types and sizes of the attachments, and their number."""
        if self._raw is not None:
            raw = [
                MailPart(name=_cut(leaf.filename), content_type=leaf.content_type[:MAX_NAME], size=leaf.size)
                for leaf in self._raw.parts
            ]
            if self._raw.is_given_up:
                self._doubts.append("the mail has more parts than are read")
            return tuple(raw), self._raw.part_count
        infos, ids = self._json("attachment-info"), self._json("content-ids")
        cids = {name: cid for cid, name in ids.items() if isinstance(name, str)}
        self._files = [file for file in self._files if file.is_attachment(infos.keys() | cids.keys())]
        parts = []
        for file in self._files[:MAX_PARTS]:
            info = infos.get(file.header.name)
            info = info if isinstance(info, dict) else {}
            parts.append(
                MailPart(
                    name=_cut(info.get("filename") or info.get("name") or file.name),
                    content_type=_cut(_type(info.get("type") or file.header.content_type)) or "",
                    size=file.size,
                    content_id=_cut(info.get("content-id") or cids.get(file.header.name)),
                )
            )
        return tuple(parts), len(self._files)

    def _fingerprint(self, sender: str, headers: MailHeaders, parts: tuple[MailPart, ...]) -> str:
        texts = []
        for name in ("text", "html"):
            data, charset, is_cut = self._content(name)
            texts.append((data, charset, self._whole(name) if is_cut else None))
        contents = self._raw.parts if self._raw is not None else self._files
        return make_fingerprint(sender, headers, texts, parts, contents)

    def _whole(self, name: str) -> Leaf | _Field | None:
        if self._raw is not None:
            return self._raw.text if name == "text" else self._raw.html
        return self._fields.get(name)

    def _verdicts(self) -> Verdicts:
        try:
            score = float(self._decode("spam_score"))
        except ValueError:
            score = float("nan")
        return Verdicts(
            spf=self._decode("SPF") or None,
            dkim=self._decode("dkim") or None,
            spam_score=score if isfinite(score) else None,
            sender_ip=self._decode("sender_ip") or None,
        )

    def _bytes(self, name: str) -> bytes:
        kept = self._fields.get(name)
        return bytes(kept.data) if kept is not None else b""

    def _charset(self, name: str) -> str | None:
        charset = self._charsets.get(name)
        return without_comments(charset) if isinstance(charset, str) else None

    def _decode(self, name: str) -> str:
        """Return a field as text on one line."""
        kept = self._fields.get(name)
        decoded = decode(self._bytes(name), self._charset(name), is_cut=kept is not None and kept.is_cut)
        if not decoded.is_as_stated:
            self._doubts.append(f"{name}: not {(self._charset(name) or 'utf-8')[:40]} as stated")
        return " ".join(decoded.text.split())

    def _json(self, name: str) -> dict[str, Any]:
        """Return the JSON object of a field; anything else counts as an empty one, and is noted as a doubt."""
        data = self._bytes(name)
        value: Any = {}
        if data.strip():
            try:
                value, is_exact = read_json(data)
            except UnreadableError:
                value, is_exact = None, True
            if isinstance(value, dict) and not is_exact:
                self._doubts.append(f"{name}: not UTF-8")
        if not isinstance(value, dict):
            self._doubts.append(f"{name}: not a JSON object")
        return value if isinstance(value, dict) else {}


def _type(content_type: Any) -> Any:
    return without_comments(content_type).strip() if isinstance(content_type, str) else content_type


def _cut(text: Any) -> str | None:
    """Return the first MAX_NAME characters of a text, or None for an empty one."""
    return text[:MAX_NAME] if isinstance(text, str) and text else None


def _drop(_: bytes) -> None:
    """Drop content that is not kept."""
