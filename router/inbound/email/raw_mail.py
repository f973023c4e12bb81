"""Reads a raw mail (RFC 5322 and MIME) as a stream: its headers, the beginning of its texts, and a list of its parts.

For the raw mode of Inbound Parse, where one field holds the whole mail. The parsers of the email package keep
everything they read, so this module finds the parts itself. It holds header blocks, which the email package then
parses, and the beginning of the first plain and the first HTML text; of everything else it counts the bytes. An
attached mail, also one of a digest, is a part and is not opened: somebody else wrote it. The input is untrusted:
nothing is done line by line, and the number of delimiters has a bound.
Delimiters: https://www.rfc-editor.org/rfc/rfc2046#section-5.1 (the line break before a delimiter belongs to it)
Transfer encodings: https://www.rfc-editor.org/rfc/rfc2045#section-6
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64, a2b_qp
from dataclasses import dataclass, field
from email.message import Message
from email.parser import HeaderParser
from email.policy import compat32
from string import ascii_letters, digits
from typing import Final, NamedTuple
from zlib import crc32

from router.inbound.email.headers import PARAMETRIC, drop_comments, without_comments
from router.inbound.email.text import decode, decode_header

#: Bytes that are read of the mail's own header block, and of the block of one part.
MAX_HEADERS: Final = 256 * 1024
MAX_PART_HEADERS: Final = 16 * 1024
#: Header lines that are read of each of them: the email package needs three microseconds for each. Mails have up to
#: about 200, their parts fewer than ten.
MAX_LINES: Final = 1000
MAX_PART_LINES: Final = 100
#: Parts that are listed; further parts are only counted.
MAX_PARTS: Final = 200
#: Depth of nested multiparts; the content of a deeper one counts as content of its parent.
MAX_DEPTH: Final = 10
#: Delimiters of one mail that are read.
MAX_DELIMITERS: Final = 1000
#: Bytes of boundaries that are compiled into patterns for one mail, repetitions included.
MAX_PATTERNS: Final = 256 * 1024
#: Parameters and characters of a header that are read: the email package needs time with their square.
MAX_PARAMETERS: Final = 64
_MAX_PARAMETRIC: Final = 8 * 1024
#: Characters of a boundary (RFC 2046 allows 70), and bytes at the end of a chunk that may begin a delimiter. The
#: boundaries of MAX_DEPTH multiparts are compiled together, at two microseconds a character.
_MAX_BOUNDARY: Final = 128
_MAX_TAIL: Final = 256
_BASE64: Final = (ascii_letters + digits + "+/").encode()
_NOT_BASE64: Final = bytes(set(range(256)).difference(_BASE64))
_END_OF_HEADERS: Final = rb"\n\r?\n"
_PLAIN: Final = "text/plain"
_TEXTS: Final = (_PLAIN, "text/html")
#: The parts of a digest are mails if they state no type (RFC 2046 section 5.1.5).
_DIGEST: Final = "multipart/digest"
_MESSAGE: Final = "message/rfc822"


class _Multipart(NamedTuple):
    """An open multipart: its boundary in every reading, and the type of a part that states none."""

    boundaries: frozenset[bytes]
    default_type: str


@dataclass(slots=True)
class Leaf:
    """One part that is not a multipart.

    `kept` is the beginning of a text, still encoded; `is_cut` if the text was longer. `counted` is in bytes, or in
    characters of base64.
    """

    content_type: str = _PLAIN
    filename: str | None = None
    charset: str | None = None
    encoding: str = ""
    is_attachment: bool = False
    is_text: bool = False
    counted: int = 0
    kept: bytearray = field(default_factory=bytearray)
    is_cut: bool = False
    last: bytes = b""
    crc: int = 0
    carried: bytes = b""  # characters of base64 that do not yet make three bytes

    def add(self, content: bytes, limit: int) -> None:
        """Count `content`, and keep it up to `limit` bytes in all."""
        self._check(content)
        if self.encoding == "base64":
            self.counted += len(content.translate(None, b"\r\n\t ="))
        elif self.encoding == "quoted-printable":  # `=C3` is one byte, a line break after `=` is none
            seen = self.last + content
            self.counted += len(content) - 2 * content.count(b"=") - seen.count(b"=\r\n")
            self.last = seen[-2:]
        else:
            self.counted += len(content)
        if limit:
            free = limit - len(self.kept)
            self.kept += content[:free]
            self.is_cut = self.is_cut or len(content) > free

    def _check(self, content: bytes) -> None:
        if self.encoding == "base64":
            encoded = self.carried + content.translate(None, _NOT_BASE64)
            end = len(encoded) // 4 * 4
            content, self.carried = a2b_base64(encoded[:end]), encoded[end:]
        self.crc = crc32(content, self.crc)

    @property
    def checksum(self) -> int:
        """The CRC-32 of the content, without its transfer encoding if that is base64."""
        last = self.carried if len(self.carried) > 1 else b""
        return crc32(a2b_base64(last + b"==") if last else b"", self.crc)

    @property
    def size(self) -> int:
        """The decoded size in bytes; exact if the encoding is well formed."""
        return self.counted * 3 // 4 if self.encoding == "base64" else max(0, self.counted)

    def content(self) -> bytes:
        """Return the kept beginning of a text, decoded."""
        kept = bytes(self.kept)
        if self.encoding == "quoted-printable":
            return a2b_qp(kept)
        if self.encoding != "base64":
            return kept
        encoded = b"".join(kept.split())
        try:
            return a2b_base64(encoded[: len(encoded) // 4 * 4])
        except Error:
            return kept


class RawMailReader:
    """Reads one raw mail: `write` its bytes in order, then `finish`; never raises.

    Afterwards `headers` are those of the mail, `text` and `html` its first texts, `parts` its other parts (at most
    MAX_PARTS) and `part_count` their real number. `is_given_up` if a bound on delimiters was reached and the rest was
    not read. `keep` is the number of decoded bytes of a text that are needed.
    """

    def __init__(self, keep: int) -> None:
        self.headers: Message[str, str] = Message()
        self.text: Leaf | None = None
        self.html: Leaf | None = None
        self.parts: list[Leaf] = []
        self.part_count = 0
        self.is_given_up = False
        self._max_kept = 3 * keep  # quoted-printable encodes one byte as three
        self._multiparts: list[_Multipart] = []  # the outermost first
        self._delimiters, self._patterns = 0, 0
        self._block: bytearray | None = bytearray()  # the current header block
        self._is_top = True
        self._leaf: Leaf | None = None
        self._pattern = re.compile(_END_OF_HEADERS)
        self._rest = b"\n"  # every header block and every content begins after a line break
        self._is_fresh = True  # that line break has not been removed yet

    def write(self, chunk: bytes) -> None:
        """Read the next bytes of the mail."""
        if self.is_given_up:
            return
        data = self._scan(self._rest + chunk)
        start = data.rfind(b"\n", max(0, len(data) - _MAX_TAIL))
        start = start if start >= 0 else len(data)
        start -= data[:start].endswith(b"\r") if start else 0
        self._consume(data[:start])
        self._rest = data[start:]

    def finish(self) -> None:
        """End the mail."""
        if not self.is_given_up:
            data = self._scan(self._rest + b"\n")  # the last delimiter needs no line break
            self._consume(data.removesuffix(b"\n"))
        if self._block is not None:
            self._end_headers(self._block)
        self._close()

    def _scan(self, data: bytes) -> bytes:
        """Consume every block and content that ends in `data`, and return the rest."""
        position = 0
        while not self.is_given_up and (match := self._pattern.search(data, position)):
            start = match.start()
            end = start - (start > position and data[start - 1] == ord("\r"))
            self._consume(data[position:end])
            found = match.groupdict()
            if found.get("boundary"):
                self._end_part(found["boundary"], is_last=bool(found["last"]))
                position = match.end()
            else:
                self._end_headers(self._block or bytearray())
                position = start + 1  # the content begins with the second line break
            self._is_fresh = True
        return data[position:]

    def _consume(self, data: bytes) -> None:
        """Add bytes to the current header block or content."""
        if self._is_fresh and data:
            data = data.removeprefix(b"\r").removeprefix(b"\n")
            self._is_fresh = False
        if self._block is not None:
            free = (MAX_HEADERS if self._is_top else MAX_PART_HEADERS) - len(self._block)
            self._block += data[:free]
        elif self._leaf is not None:
            self._leaf.add(data, self._max_kept if self._leaf.is_text else 0)

    def _end_part(self, boundary: bytes, *, is_last: bool) -> None:
        """End a part at a delimiter; the delimiter of an outer multipart also ends the inner ones."""
        if self._block is not None:
            self._end_headers(self._block)
        self._close()
        depth = max(depth for depth, one in enumerate(self._multiparts, start=1) if boundary in one.boundaries)
        del self._multiparts[depth - is_last :]
        self._block = None if is_last else bytearray()
        self._delimiters += 1
        self.is_given_up = self.is_given_up or self._delimiters >= MAX_DELIMITERS
        self._compile()

    def _end_headers(self, block: bytearray) -> None:
        """Parse a header block; the content of a leaf or the preamble of a multipart follows."""
        message = read_headers(bytes(block), MAX_LINES if self._is_top else MAX_PART_LINES)
        if self._is_top:
            self.headers = message
        self._block, self._is_top = None, False
        as_written = _boundary(message)  # programs that forget the quotes mean parentheses as text
        drop_comments(message)
        boundaries = frozenset((as_written, _boundary(message))) - {b""}
        if self._multiparts:
            message.set_default_type(self._multiparts[-1].default_type)
        if message.get_content_maintype() == "multipart" and boundaries and len(self._multiparts) < MAX_DEPTH:
            default_type = _MESSAGE if message.get_content_type() == _DIGEST else _PLAIN
            self._multiparts.append(_Multipart(boundaries, default_type))
        else:
            self._leaf = _describe(message)
            self._leaf.is_text = self._is_first_text(self._leaf)
        self._compile()

    def _compile(self) -> None:
        """Compile the pattern for the end of the current block or content, innermost boundary first."""
        names = b"|".join(re.escape(name) for one in self._multiparts[::-1] for name in sorted(one.boundaries))
        self._patterns += len(names)
        self.is_given_up = self.is_given_up or self._patterns > MAX_PATTERNS
        delimiter = rb"\n--(?P<boundary>" + names + rb")(?P<last>--)?[ \t]{0,32}(?=\r?\n)"
        ends = ([_END_OF_HEADERS] if self._block is not None else []) + ([delimiter] if names else [])
        self._pattern = re.compile(b"|".join(ends) or rb"(?!)")

    def _is_first_text(self, leaf: Leaf) -> bool:
        known = self.text if leaf.content_type == _PLAIN else self.html
        return leaf.content_type in _TEXTS and not leaf.is_attachment and known is None

    def _close(self) -> None:
        leaf, self._leaf = self._leaf, None
        if leaf is None:
            return
        if leaf.is_text and leaf.content_type == _PLAIN:
            self.text = leaf
        elif leaf.is_text:
            self.html = leaf
        else:
            self.part_count += 1
            if len(self.parts) < MAX_PARTS:
                self.parts.append(leaf)


def read_headers(block: bytes, lines: int = MAX_LINES) -> Message[str, str]:
    """Return the headers in the first `lines` of a raw header block (the field `headers` of the parsed mode).

    Never raises. The block is decoded first, because many programs write unencoded bytes into headers.
    """
    text = decode(block[:MAX_HEADERS].lstrip(b"\r\n"), None, is_cut=True).text
    message = HeaderParser(policy=compat32).parsestr("\n".join(text.split("\n", lines)[:lines]))
    for name in PARAMETRIC:
        value = message.get(name, "")
        if len(value) > _MAX_PARAMETRIC or value.count(";") > MAX_PARAMETERS:
            message.replace_header(name, ";".join(value.split(";", MAX_PARAMETERS)[:MAX_PARAMETERS])[:_MAX_PARAMETRIC])
    return message


def _describe(message: Message[str, str]) -> Leaf:
    filename = _parameter(message, "filename", "content-disposition") or _parameter(message, "name")
    disposition = message.get("content-disposition", "").strip().lower()
    return Leaf(
        content_type=message.get_content_type(),
        filename=decode_header(filename) or None,
        charset=_parameter(message, "charset") or None,
        encoding=without_comments(message.get("content-transfer-encoding", "")[:_MAX_PARAMETRIC]).strip().lower(),
        is_attachment=bool(filename) or disposition.startswith("attachment"),
    )


def _boundary(message: Message[str, str]) -> bytes:
    return _parameter(message, "boundary").rstrip().encode()[:_MAX_BOUNDARY]


def _parameter(message: Message[str, str], name: str, header: str = "content-type") -> str:
    """Return a parameter of a header, or an empty text; the email package raises various errors for crafted ones."""
    try:
        value = message.get_param(name, "", header=header)
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
    if isinstance(value, tuple):  # RFC 2231: charset, language, and the bytes as Latin-1
        charset, _, text = value
        return decode(text.encode("latin-1", "replace"), charset).text
    return value
