"""The shared parts of the operations pages: query parameters of lists, their pages, and times as people type them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from router.console.pages import ConsoleError, Parameter
from router.core.timestamps import MOMENTS, read_moment
from router.operations.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Rows of a page, and the most that a program may ask for.
ROWS: Final = 50
MOST_ROWS: Final = 500
#: Entries that are looked at for one page of a filtered list; the next page goes on from there.
MOST_LOOKED_AT: Final = 2_000
#: Digits of a cursor that is a number.
_MOST_DIGITS: Final = 7
#: The filters of dead letters and of the quarantine, by the fields of a Selection.
FILTERS: Final = ("reason", "stream", "group", "account", "source", "event", "since", "until")

CURSOR: Final = Parameter("cursor", "where the page begins: `next` of the page before")
LIMIT: Final = Parameter("limit", "rows of the page", {"type": "integer", "minimum": 1, "maximum": MOST_ROWS})


def read_limit(query: Mapping[str, str]) -> int:
    """Return the number of rows that a page is to have; LIMIT says which numbers there are."""
    return int(query.get("limit") or ROWS)


def read_offset(query: Mapping[str, str]) -> int:
    """Return the number of rows before a page, of a list without a better cursor; raises ConsoleError."""
    text = query.get("cursor", "") or "0"
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise ConsoleError(400, "cursor must be the `next` of a page before.")
    return int(text)


def read_time(name: str, text: str, now: int) -> int | None:
    """Return the time that a parameter names, in µs since 1970; None without a text. Raises ConsoleError."""
    if not text.strip():
        return None
    at = read_moment(text, now)
    if at is None:
        raise ConsoleError(400, f"{name} must be a time: {MOMENTS}.")
    return at


def read_selection(given: Mapping[str, Any], now: int) -> Selection:
    """Return the filter that a query or form describes; raises ConsoleError."""
    words = {name: _read_word(name, given.get(name, "")) for name in FILTERS}
    return Selection(
        reason=words["reason"],
        stream=words["stream"],
        group=words["group"],
        account=words["account"],
        source=words["source"],
        event=words["event"],
        since=read_time("since", words["since"], now) or 0,
        until=read_time("until", words["until"], now),
    )


def without_reason(selection: Selection, *, unmasked: bool) -> tuple[Selection, str]:
    """Return the selection, and the part of a reason that a row must show, for those who see reasons masked.

    A reason may quote a number: what is masked must not be found out by trying parts of it.
    """
    return (selection, "") if unmasked else (replace(selection, reason=""), selection.reason.casefold())


def read_filters(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the filters that are set, as they were typed."""
    return {name: text for name in FILTERS if (text := _read_word(name, given.get(name, "")))}


def _read_word(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConsoleError(400, f"{name} must be given once, as a text.")
    return value.strip()


def page_of(items: list[dict[str, Any]], following: str | None = None) -> dict[str, Any]:
    """Return the data of a list."""
    return {"items": items, "next": following}


FILTER_PARAMETERS: Final = (
    Parameter("reason", "a part of the reason, whatever its case; the name of a reason of refusals: that one only"),
    Parameter("stream", "the stream: its key, or what follows the partition in it"),
    Parameter("group", "the consumer group"),
    Parameter("account", "the account SID"),
    Parameter("source", "the source of the webhook, or the type of the entry"),
    Parameter("event", "an event id, an idempotency key, a source or a type"),
    Parameter("since", f"not before: {MOMENTS}"),
    Parameter("until", f"before: {MOMENTS}"),
    CURSOR,
    LIMIT,
)
