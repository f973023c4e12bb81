"""Parser of HTTP requests that were pasted from a log, a packet capture, a tunnel's inspector or the quarantine.

The format is the HTTP/1.1 message format (https://www.rfc-editor.org/rfc/rfc9112#name-message-format), read leniently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from router.core.signing.twilio import SETTINGS_HEADER
from router.receiver.requests import SIGNATURE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LINE_END: Final = b"\r\n"
#: The most digits that a Content-Length may have to be used.
_MAX_DIGITS: Final = 19
#: Headers of which every line counts, and what stands between two lines: the receiver joins the settings of a signature
#: (a list, which HTTP lets a proxy split), and each proxy may add a line of its own. Of a signature it reads the first
#: line only; none of its lines contains the separator. Of any other header the first line counts.
#: https://www.rfc-editor.org/rfc/rfc9110#name-field-lines-and-combined-fi
_JOINED: Final = {
    SETTINGS_HEADER.lower(): ",",
    SIGNATURE.lower(): "\n",
    **dict.fromkeys(("forwarded", "x-forwarded-host", "x-original-host"), ", "),
    **dict.fromkeys(("x-forwarded-port", "x-forwarded-prefix"), ", "),
}


@dataclass(frozen=True, slots=True)
class RequestText:
    """A pasted request; `raw_path` is path and query as written, `headers` are those of `join_headers`."""

    method: str
    raw_path: bytes
    headers: dict[str, str]
    body: bytes


def parse_request(data: bytes) -> RequestText:
    """Parse request line, headers, blank line and body; raises ValueError naming the part that is wrong.

    Line ends may be LF. A body is cut at its Content-Length, and a form loses the line ends that pasting added.
    """
    head, body = _split(data)
    lines = head.replace(_LINE_END, b"\n").strip(b"\n").split(b"\n")
    words = lines[0].split()
    if len(words) not in {2, 3} or not words[0].isalpha():
        raise ValueError("the first line is not a request line such as: POST /webhooks/messaging HTTP/1.1")
    raw_path, host = split_target(words[1])
    headers = parse_headers(line.decode("utf-8", "surrogateescape") for line in lines[1:] if line.strip())
    if host:
        headers.setdefault("host", host)
    return RequestText(words[0].decode(), raw_path, headers, _cut(body, headers))


def split_target(target: bytes) -> tuple[bytes, str]:
    """Split a path or a URL into path with query, and host (empty for a path); raises ValueError if it is neither."""
    if target.startswith(b"/"):
        return target.partition(b"#")[0], ""
    parts = urlsplit(target.partition(b"#")[0])
    if not parts.netloc:
        raise ValueError("the address is neither a path nor a URL")
    query = b"?" + parts.query if parts.query else b""
    return (parts.path or b"/") + query, parts.netloc.rpartition(b"@")[2].decode("utf-8", "replace")


def parse_headers(lines: Iterable[str]) -> dict[str, str]:
    """Parse `Name: value` lines, as `join_headers` does; raises ValueError with the number of a wrong line."""
    return join_headers(_read_lines(lines))


def join_headers(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the headers by their names in lower case: of a repeated one all lines if it is a list, else the first."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        lower = name.lower()
        known = headers.get(lower)
        if known is None:
            headers[lower] = value
        elif lower in _JOINED:
            headers[lower] = f"{known}{_JOINED[lower]}{value}"
    return headers


def _read_lines(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines, 1):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ValueError(f"header {number} has no colon after its name")
        yield name.strip(), value.strip()


def _split(data: bytes) -> tuple[bytes, bytes]:
    ends = [(data.find(end), end) for end in (b"\r\n\r\n", b"\n\n") if end in data]
    if not ends:
        return data, b""
    at, end = min(ends)
    return data[:at], data[at + len(end) :]


def _cut(body: bytes, headers: dict[str, str]) -> bytes:
    length = headers.get("content-length", "")
    if length.isdecimal() and len(length) <= _MAX_DIGITS:
        return body[: int(length)]
    return body.rstrip(b"\r\n") if "urlencoded" in headers.get("content-type", "") else body
