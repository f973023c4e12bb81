"""Pages of a list, with opaque tokens that survive concurrent writes.

A token names a moment between two records, not a count: what existed throughout is neither lost nor doubled, however
many records come or go meanwhile. By switch it is a count, and then pages shift: nobody knows which the live API has.
`pageSize` is 1 to 1000, 50 if absent; `meta.pageSize` is what was returned.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic

import orjson

from router.sandbox.errors import invalid
from router.sandbox.indexes import R, moment_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

DEFAULT_SIZE: Final = 50
MAX_SIZE: Final = 1000
_SIZE_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list: before (or, `is_back`, after) it in the order shown lies what was already returned."""

    moment: int
    is_back: bool


@dataclass(frozen=True, slots=True)
class PageQuery:
    """What the query string asks for; `listing` binds tokens to one list, which are counts if it `is_counted`."""

    listing: str
    size: int
    cursor: Cursor | None
    is_descending: bool
    is_counted: bool = False


@dataclass(frozen=True, slots=True)
class ResultPage(Generic[R]):
    """Records in the order shown, and the tokens of the pages around."""

    items: list[R]
    next_token: str | None
    previous_token: str | None

    def to_wire(self, key: str, make: Callable[[R], dict[str, Any]]) -> dict[str, Any]:
        """Return the JSON object of the API."""
        meta = {
            "key": key,
            "pageSize": len(self.items),
            "nextToken": self.next_token,
            "previousToken": self.previous_token,
        }
        return {key: [make(item) for item in self.items], "meta": meta}


def read_query(query: Mapping[str, str], listing: str, *, is_descending: bool) -> PageQuery:
    """Read `pageSize` and `pageToken`; other parameters are ignored.

    Raises RefusalError (400) for a size out of range and for a token that is not one of this list.
    """
    raw_size, token = query.get("pageSize"), query.get("pageToken")
    size = DEFAULT_SIZE
    if raw_size is not None:
        is_number = raw_size.isascii() and raw_size.isdigit() and len(raw_size) <= _SIZE_DIGITS
        size = int(raw_size) if is_number else 0
    if not 1 <= size <= MAX_SIZE:
        raise invalid("pageSize", f"must be a whole number from 1 to {MAX_SIZE}")
    return PageQuery(listing, size, _decode(token, listing) if token else None, is_descending)


def take_page(records: Sequence[R], query: PageQuery, accepts: Callable[[R], bool] | None = None) -> ResultPage[R]:
    """Return the page of `records` (oldest first) that `query` asks for, of those that `accepts` takes."""
    if query.is_counted:
        return _take_counted(records, query, accepts)
    is_back = query.cursor is not None and query.cursor.is_back
    is_down = query.is_descending != is_back
    found = list(islice(_walk(records, query.cursor, accepts, is_down=is_down), query.size + 1))
    has_more, items = len(found) > query.size, found[: query.size]
    if is_back:
        items.reverse()
    if not items:
        return ResultPage([], None, None)
    has_after = _exists(records, items[-1], accepts, is_down=query.is_descending) if is_back else has_more
    has_before = has_more if is_back else _exists(records, items[0], accepts, is_down=not query.is_descending)
    return ResultPage(
        items,
        _encode(query.listing, items[-1].moment, is_back=False) if has_after else None,
        _encode(query.listing, items[0].moment, is_back=True) if has_before else None,
    )


def _take_counted(records: Sequence[R], query: PageQuery, accepts: Callable[[R], bool] | None) -> ResultPage[R]:
    start = max(0, query.cursor.moment) if query.cursor else 0
    end = start + query.size
    shown = list(_walk(records, None, accepts, is_down=query.is_descending))
    after = _encode(query.listing, end, is_back=False) if len(shown) > end else None
    before = _encode(query.listing, max(0, start - query.size), is_back=False) if start else None
    return ResultPage(shown[start:end], after, before)


def _walk(
    records: Sequence[R], cursor: Cursor | None, accepts: Callable[[R], bool] | None, *, is_down: bool
) -> Iterator[R]:
    """Yield from the cursor on, towards older records if `is_down`."""
    if is_down:
        start = bisect_left(records, cursor.moment, key=moment_of) if cursor else len(records)
        places = range(start - 1, -1, -1)
    else:
        places = range(bisect_right(records, cursor.moment, key=moment_of) if cursor else 0, len(records))
    for place in places:
        if accepts is None or accepts(records[place]):
            yield records[place]


def _exists(records: Sequence[R], beside: R, accepts: Callable[[R], bool] | None, *, is_down: bool) -> bool:
    return any(True for _ in _walk(records, Cursor(beside.moment, is_back=False), accepts, is_down=is_down))


def _encode(listing: str, moment: int, *, is_back: bool) -> str:
    return urlsafe_b64encode(orjson.dumps([listing, moment, is_back])).decode().rstrip("=")


def _decode(token: str, listing: str) -> Cursor:
    try:
        value = orjson.loads(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except ValueError as error:
        raise invalid("pageToken", "is not a token of this list") from error
    match value:
        case [str(name), int(moment), bool(is_back)] if name == listing:
            return Cursor(moment, is_back)
    raise invalid("pageToken", "is not a token of this list")
