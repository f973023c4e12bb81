"""Plain requests: one whole HTTP/1.1 request in a few bytes, written in the simplest way, as Twilio and proxies do.

`read_plain` accepts a strict subset of what aiohttp's parser accepts, and reads the same from it: one request that ends
where the data ends, with a Content-Length, no header that changes how it is to be read or answered, none of those that
matter twice, visible ASCII only. Of anything else it makes nothing, and aiohttp decides.
`Boundaries` follows what aiohttp's parser is given, in order to know when it is between two requests.
Rules: https://www.rfc-editor.org/rfc/rfc9112 (messages), https://www.rfc-editor.org/rfc/rfc9110#section-5.5 (fields).
"""

from __future__ import annotations

import re
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from multidict import CIMultiDict, istr

from router.core.signing.twilio import SETTINGS_HEADER
from router.receiver.bodies import SMALL
from router.receiver.requests import SIGNATURE, TOKEN, RawRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router.inbound.sources import Source

#: Bytes of the head of a plain request, less than aiohttp allows for a single line (MAX_HEADER_SIZE).
MAX_HEAD: Final = 4096
#: Header lines of a plain request, fewer than aiohttp allows (MAX_HEADERS).
MAX_LINES: Final = 48
#: A header line: a name, and a value that begins with a visible character. A name is looked for where a line begins.
_HEADER: Final = re.compile(r"(?m)^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([!-~][ -~]*)\r\n")
#: A query: visible ASCII without the mark of a fragment.
_QUERY: Final = re.compile(r'[!"$-~]*')
_REQUEST_LINE: Final = re.compile(r'(?:GET|HEAD|POST|PUT|DELETE|OPTIONS) /[!"$-~]* HTTP/1\.1')
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,8}")
#: Header names (in lower case) that change how a request is read or answered, or that are read where they are several.
_UNUSUAL: Final = frozenset(
    {
        "content-encoding",
        "expect",
        "http2-settings",
        "sec-websocket-key1",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        SETTINGS_HEADER.lower(),
    }
)
#: Header names that proxies repeat; any other name counts once.
_REPEATED: Final = frozenset({"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"})
_REQUIRED: Final = frozenset({"host", "content-length", "content-type", SIGNATURE.lower()})
#: The headers that are read for a webhook, by their names in lower case.
_READ: Final = {name.lower(): istr(name) for name in (SIGNATURE, TOKEN, "Content-Type")}


class _Places(NamedTuple):
    """The places of values among the parts of a head: three parts for each line, of which the third is the value."""

    length: int
    #: 0 for a head without the header Connection, which then is in place of it.
    connection: int
    names: tuple[istr, ...]
    values: Callable[[list[str]], tuple[str, ...]]


def read_plain(data: bytes, sources: Mapping[str, Source]) -> tuple[Source, RawRequest] | None:
    """Return the source and the request of a plain webhook, whose path is one of `sources`; None for any other data.

    Of its headers only those are kept that a webhook is checked by.
    Gain: that of the fast lane, of which this takes 5 µs by a timer.
    """
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD)
    line, _, lines = data[: end + 2].decode("latin-1").partition("\r\n")
    if end < 0 or line[:5] != "POST " or line[-9:] != " HTTP/1.1":
        return None
    path, mark, query = line[5:-9].partition("?")
    source = sources.get(path)
    if source is None or (mark and not _QUERY.fullmatch(query)):
        return None
    parts = _HEADER.split(lines)
    places = _find_places(tuple(parts[1::3]))
    if places is None or any(parts[::3]) or " \r\n" in lines:  # something is no header line, or ends with a space
        return None
    length, connection, names, values = places
    size = len(data) - end - 4
    if parts[length] != str(size) or not 0 < size <= SMALL:
        return None
    if connection and parts[connection].lower() != "keep-alive":
        return None
    headers = CIMultiDict(zip(names, values(parts)))  # noqa: B905 - of equal length; `strict` costs as many steps again
    return source, RawRequest(data[5 : len(line) - 9], headers, data[end + 4 :])


@lru_cache(maxsize=64)  # a head is bounded; each of Twilio's products and of the proxies before us sends the same names
def _find_places(names: tuple[str, ...]) -> _Places | None:
    """Return the places of the values in a head with these names; None if they are not those of a plain request."""
    folded = [name.lower() for name in names]
    if not _is_usual(folded) or not _REQUIRED.issubset(folded):
        return None
    places = {name: 3 * number + 2 for number, name in enumerate(folded)}
    read = [name for name in _READ if name in places]
    values: Callable[[list[str]], tuple[str, ...]] = itemgetter(*[places[name] for name in read])
    return _Places(places["content-length"], places.get("connection", 0), tuple([_READ[name] for name in read]), values)


def _is_usual(folded: list[str]) -> bool:
    """Tell whether these header names, in lower case, change nothing about how a request is read."""
    once = [name for name in folded if name not in _REPEATED]
    return len(folded) <= MAX_LINES and len(set(once)) == len(once) and _UNUSUAL.isdisjoint(once) and "host" in once


class Boundaries:
    """Tells whether aiohttp's parser, given the data that is noted here, is between two requests.

    It knows requests in plain lines, one at a time. After any other data, such as pipelined requests or chunks, the
    answer is no for as long as the connection lives: all its requests are then aiohttp's.
    """

    __slots__ = ("_head", "_is_lost", "_left", "is_between")

    def __init__(self) -> None:
        self.is_between = True
        self._is_lost = False
        self._head = b""
        self._left = 0

    def note(self, data: bytes) -> None:
        """Note data that the parser is given."""
        if self._is_lost or not data:
            return
        if not self._left:
            self._head += data
            end = self._head.find(b"\r\n\r\n", 0, MAX_HEAD)
            if end < 0:
                self._end_with(0, is_lost=len(self._head) >= MAX_HEAD)
                return
            length = _read_length(self._head[: end + 2].decode("latin-1"))
            rest, self._head = len(self._head) - end - 4, b""
            self._end_with(0 if length is None else length - rest, is_lost=length is None)
        else:
            self._end_with(self._left - len(data), is_lost=False)

    def _end_with(self, left: int, *, is_lost: bool) -> None:
        """Note how many bytes of the present request are left."""
        self._left = left
        self._is_lost = is_lost or left < 0
        self.is_between = not (self._is_lost or left or self._head)
        if self._is_lost:
            self._head = b""


def _read_length(head: str) -> int | None:
    """Return the length of the body that follows a head; None if the head is not in plain lines, or nothing follows."""
    line, _, lines = head.partition("\r\n")
    parts = _HEADER.split(lines)
    if any(parts[::3]) or " \r\n" in lines or not _REQUEST_LINE.fullmatch(line):
        return None
    folded = [name.lower() for name in parts[1::3]]
    if not _is_usual(folded):
        return None
    values = dict(zip(folded, parts[2::3], strict=True))
    if values.get("connection", "keep-alive").lower() != "keep-alive":  # aiohttp's parser reads nothing more
        return None
    length = values.get("content-length", "0")
    return int(length) if _LENGTH.fullmatch(length) else None
