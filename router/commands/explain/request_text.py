"""Parser of HTTP requests that were pasted from a log, a packet capture, a tunnel's inspector or the quarantine.

The format is the HTTP/1.1 message format (https://www.rfc-editor.org/rfc/rfc9112#name-message-format), read leniently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

_LINE_END: Final = b"\r\n"
#: The most digits that a Content-Length may have to be used.
_MAX_DIGITS: Final = 19


@dataclass(frozen=True, slots=True)
class RequestText:
    """A pasted request; `raw_path` is path and query as written, the names of `headers` are in lower case."""

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
    """Parse `Name: value` lines, keeping the first of each name; raises ValueError with the number of a wrong line."""
    headers: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ValueError(f"header {number} has no colon after its name")
        headers.setdefault(name.strip().lower(), value.strip())
    return headers


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
