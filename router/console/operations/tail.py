"""The live tail: the newest entries of all streams, and those that arrive while the page is open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.console.hub import Arrival, Missed
from router.console.operations.models import ListAnswer
from router.console.operations.parts import LIMIT, MOST_ROWS, page_of, read_limit
from router.console.pages import Live, LiveEvent, Page, Parameter, View
from router.console.roles import ConsoleError, Role
from router.core.printable import visible
from router.core.stored_fields import open_stored
from router.core.timestamps import to_text
from router.operations.entry_facts import read_facts
from router.streams.store.inspect import all_streams
from router.streams.store.overview import read_newest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from router.console.request import ConsoleRequest

#: Characters of a text that a row shows.
MOST_TEXT: Final = 200
_FIELDS: Final = ("kind", "stream", "q")


@dataclass(frozen=True, slots=True)
class TailFilter:
    """A filter of the tail: entries of a stream or type, and those that name `q`: an id, or an address.

    A part of an address finds it only for those who see it: what is masked must not be found out by trying.
    """

    kind: str = ""
    stream: str = ""
    q: str = ""
    unmasked: bool = False

    @property
    def is_set(self) -> bool:
        """Whether anything is filtered."""
        return bool(self.kind or self.stream or self.q)

    def takes(self, row: Mapping[str, str], address: str) -> bool:
        """Return whether a row is wanted; `address` is the customer's, unmasked."""
        known = (row["event_id"], row["conversation"], row["participant"], row["resource_id"], row["key"])
        return (
            self.kind in row["kind"]
            and self.stream in row["stream"]
            and (not self.q or self.q in known or self._names(address))
        )

    def _names(self, address: str) -> bool:
        is_part = self.unmasked and len(self.q) >= _SHORTEST and self.q in address
        return is_part or self.q == address


#: Characters of the shortest part of an address that is looked for.
_SHORTEST: Final = 4


async def show_tail(request: ConsoleRequest) -> View:
    """Show the newest entries that match, the newest first."""
    wanted, limit = _read_filter(request), read_limit(request.query)
    rows = await _read_newest(request, wanted, limit)
    query = {name: text for name in _FIELDS if (text := getattr(wanted, name))}
    return View(page_of(rows), extra={"filters": query})


async def follow(request: ConsoleRequest) -> Live:
    """Send each entry that arrives and matches."""
    return Live(_arrivals(request, _read_filter(request)))


async def _arrivals(request: ConsoleRequest, wanted: TailFilter) -> AsyncGenerator[LiveEvent, None]:
    async with request.ports.hub.subscribe() as news:
        async for one in news:
            if isinstance(one, Arrival):
                row, address = _row(one.stream, one.entry_id, one.fields, request)
                if wanted.takes(row, address):
                    yield LiveEvent({"item": row})
            elif isinstance(one, Missed):
                text = f"{one.number} entries were left out, as they came faster than this page took them."
                yield LiveEvent({"text": text}, "state", template="operations/tail_state.html")
            else:
                text = "" if one.is_up else "Redis does not answer. The tail goes on by itself once it does."
                yield LiveEvent({"text": text}, "state", template="operations/tail_state.html")


def _read_filter(request: ConsoleRequest) -> TailFilter:
    kind, stream, q = (request.query.get(name, "").strip() for name in _FIELDS)
    wanted = TailFilter(kind, stream, q, unmasked=request.sees_unmasked)
    if wanted.q and not wanted.q.strip("*?%_ "):
        raise ConsoleError(400, "Name an id, or four characters of an address at least; there are no wildcards.")
    return wanted


async def _read_newest(request: ConsoleRequest, wanted: TailFilter, limit: int) -> list[dict[str, str]]:
    """Return the newest entries that match, among the last MOST_ROWS of each stream."""
    streams = all_streams(request.ports.keys)
    newest = await read_newest(request.ports.redis, streams, MOST_ROWS if wanted.is_set else limit)
    found: list[dict[str, str]] = []
    for stream, rows in zip(streams, newest, strict=True):
        for entry_id, fields in rows:
            row, address = _row(stream, entry_id.decode(), fields, request)
            if wanted.takes(row, address):
                found.append(row)
    return sorted(found, key=lambda row: row["at"], reverse=True)[:limit]


def _row(
    stream: str, entry_id: str, fields: Mapping[bytes, bytes], request: ConsoleRequest
) -> tuple[dict[str, str], str]:
    """Return an entry as a row, and the customer's address; whatever the entry holds."""
    facts, unmasked = read_facts(fields), request.sees_unmasked
    text = _text_of(open_stored(fields, request.ports.settings.sealer)[0]) if unmasked else ""
    row = {
        "at": to_text(int(entry_id.partition("-")[0]) * 1000),
        "stream": stream.partition("}:")[2],
        "entry_id": entry_id,
        "text": visible(text),
        **facts.to_json(unmasked=unmasked),
    }
    return row, facts.address


def _text_of(fields: Mapping[bytes, bytes]) -> str:
    """Return the words that somebody said: of a communication, or of a command to say something."""
    try:
        document: Any = orjson.loads(fields.get(b"event", fields.get(b"command", b"")))
        data = document["data"]
        text = data["communication"]["text"] if "communication" in data else data["text"]
    except (ValueError, KeyError, TypeError):
        return ""
    return text[:MOST_TEXT] if isinstance(text, str) else ""


_QUERY: Final = (
    Parameter("kind", "a part of the type of the entries, or of the source of webhooks"),
    Parameter("stream", "a part of what follows the partition in the stream's key"),
    Parameter("q", "an event id, conversation, participant or message, or a part of an address"),
)

PAGES: Final = (
    Page(
        "GET",
        "/tail",
        show_tail,
        Role.VIEWER,
        "Live tail",
        "operations/tail.html",
        navigation="Tail",
        query=(*_QUERY, LIMIT),
        answer=ListAnswer,
    ),
    Page(
        "GET",
        "/tail/events",
        follow,
        Role.VIEWER,
        "Arriving entries",
        "operations/tail_row.html",
        query=_QUERY,
        is_live=True,
    ),
)
