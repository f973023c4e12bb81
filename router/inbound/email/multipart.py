"""Reads multipart/form-data as a stream: chunks go in, and each part's content goes on to a sink of the caller.

Nothing is collected here, so a body of any size needs the memory of one chunk. The caller decides for each part, once
its headers are known, how much of it to keep. python-multipart implements the grammar
(https://www.rfc-editor.org/rfc/rfc7578) and finds boundaries that are split over chunks. This module adds bounds on
parts and headers, treats a body without an end as an error, and raises only this project's errors. It also reads names
in the extended syntax (`filename*=`, `filename*0=`): RFC 7578 forbids it in forms and python-multipart ignores it, but
programs that pass the headers of a mail's parts on write it.
Extended syntax: https://www.rfc-editor.org/rfc/rfc2231 and https://www.rfc-editor.org/rfc/rfc5987#section-3.2
"""

from __future__ import annotations

from email.message import Message
from typing import TYPE_CHECKING, Any, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from router.core.errors import UnreadableError, WrongTypeError
from router.core.values import Value
from router.inbound.email.text import decode

if TYPE_CHECKING:
    from collections.abc import Callable

MULTIPART: Final = "multipart/form-data"
#: Parts of one body; a mail has about 15 fields and rarely more than a few dozen attachments.
MAX_PARTS: Final = 500
#: Header lines of one part, and their bytes; three lines are usual, one of them with a file name.
MAX_HEADERS: Final = 16
MAX_HEADER_BYTES: Final = 8 * 1024
#: Parameters of a header that are read; the time needed grows with the square of their number.
MAX_PARAMETERS: Final = 64
#: Characters of `Content-Type` that are read; a boundary has at most 70 (RFC 2046).
_MAX_CONTENT_TYPE: Final = 512


class PartHeader(Value):
    """The headers of a part; `name` and `filename` are decoded, `content_type` is as received.

    `filename` is None without such a parameter, in either syntax, and empty if it cannot be read.
    """

    name: str
    filename: str | None
    content_type: str


def boundary_of(content_type: str | None) -> bytes:
    """Return the boundary in a `Content-Type` header.

    Raises WrongTypeError if it is not multipart/form-data, UnreadableError if it names no boundary.
    """
    kind, _, _ = (content_type or "").partition(";")
    if kind.strip().lower() != MULTIPART:
        raise WrongTypeError(f"{kind.strip()[:64] or 'no content type'} instead of {MULTIPART}")
    try:
        boundary = parse_options_header((content_type or "")[:_MAX_CONTENT_TYPE])[1].get(b"boundary", b"")
    except UnicodeError as error:
        raise UnreadableError("the content type is not ASCII") from error
    if not boundary:
        raise UnreadableError("the content type names no boundary")
    return boundary


class MultipartReader:
    """Reads one body: `feed` every chunk in order, then `finish`.

    `open_part` is called with the headers of each part and returns the sink for its content: a function that is called
    with bytes any number of times. Both methods raise UnreadableError, after which the reader must not be used.
    """

    def __init__(self, content_type: str | None, open_part: Callable[[PartHeader], Callable[[bytes], None]]) -> None:
        self._open_part = open_part
        self._parts = 0
        self._is_ended = False
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value = bytearray(), bytearray()
        self._sink: Callable[[bytes], None] = _drop
        try:
            self._parser = MultipartParser(
                boundary_of(content_type),
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": lambda data, start, end: self._sink(data[start:end]),
                    "on_end": self._end,
                },
                max_header_count=MAX_HEADERS,
                max_header_size=MAX_HEADER_BYTES,
            )
        except FormParserError as error:
            raise UnreadableError("the boundary is too long") from error

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes of the body; raises UnreadableError if they are not multipart/form-data."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise UnreadableError(f"not multipart/form-data: {error}") from error

    def finish(self) -> None:
        """Check that the body is complete; raises UnreadableError if it was cut off."""
        if not self._is_ended:
            raise UnreadableError("the multipart body has no end")

    def close(self) -> None:
        """Let go of the callbacks, which refer back to this reader and to its owner.

        Without that all three wait for the garbage collector.
        """
        self._parser.callbacks, self._sink = {}, _drop
        self._open_part = lambda _: _drop

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise UnreadableError(f"more than {MAX_PARTS} parts")
        self._headers = {}

    def _end_header(self) -> None:
        self._headers.setdefault(bytes(self._name).lower(), bytes(self._value))
        self._name, self._value = bytearray(), bytearray()

    def _end_headers(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        name, filename = read_parameter(disposition, "name"), read_parameter(disposition, "filename")
        if name is None:
            raise UnreadableError("a part has no name")
        content_type = self._headers.get(b"content-type", b"").decode("ascii", "replace").strip()
        self._sink = self._open_part(PartHeader(name, filename, content_type))

    def _end(self) -> None:
        self._is_ended = True


def read_parameter(header: bytes, name: str) -> str | None:
    """Return a parameter of a header, decoded, from its first MAX_PARAMETERS; None if it is missing.

    The extended syntax wins, as in HTTP (RFC 6266 section 4.3). It is an empty text if it is there and malformed.
    """
    header = b";".join(header.split(b";", MAX_PARAMETERS)[:MAX_PARAMETERS])
    extended = _read_extended(header, name) if b"*" in header else None
    plain = None if extended else parse_options_header(header)[1].get(name.encode())
    return extended if plain is None else plain.decode("utf-8", "replace")


def _read_extended(header: bytes, name: str) -> str | None:
    """Return a parameter that is written as `name*=` or in pieces as `name*0=`, or None."""
    text = header.decode("latin-1")
    if f"{name}*" not in text.lower():
        return None
    message = Message()
    message["Content-Disposition"] = text
    try:
        parameters: list[tuple[str, Any]] = message.get_params([], "Content-Disposition")
    except (ValueError, TypeError):  # pieces without end, or whole and in pieces at once
        return ""
    values = [value for key, value in parameters if key.lower() == name]
    if not values:
        return None
    value = values[-1]  # the email package puts the extended ones last
    charset, _, text = value if isinstance(value, tuple) else (None, None, value)
    return decode(text.encode("latin-1", "replace"), charset).text


def _drop(_: bytes) -> None:
    """Drop content that belongs to no part."""
