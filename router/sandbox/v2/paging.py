"""Pages of a v2 list: `pageSize` (1 to 1000, 50 by default), `pageToken`, and a `meta` with the tokens around.

A token names a position in one list or, by switch, a count of the records before it, with which pages shift under
concurrent writes: it is unknown which of the two the live API has. `meta.pageSize` is the number of records returned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic

from router.sandbox.errors import invalid
from router.sandbox.indexes import R, moment_of
from router.sandbox.paging import DEFAULT_SIZE, PagePosition, cut_page, decode_token, encode_token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from router.sandbox.bodies import Wire

MAX_SIZE: Final = 1000
_SIZE_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class PageQuery:
    """The paging parameters of a request; `listing` binds tokens to one list, `is_counted` makes them counts."""

    listing: str
    size: int
    position: PagePosition[int] | None
    is_descending: bool
    is_counted: bool = False


@dataclass(frozen=True, slots=True)
class ResultPage(Generic[R]):
    """Records in the order shown, and the tokens of the pages before and after."""

    items: list[R]
    next_token: str | None
    previous_token: str | None

    def to_wire(self, key: str, make: Callable[[R], Wire]) -> Wire:
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
    return PageQuery(listing, size, _read_token(token, listing) if token else None, is_descending)


def take_page(records: Sequence[R], query: PageQuery, accepts: Callable[[R], bool] | None = None) -> ResultPage[R]:
    """Return the page of `records` (oldest first) for `query`, of those that `accepts` returns true for."""
    if query.is_counted:
        return _take_counted(records, query, accepts)
    page = cut_page(records, query.position, query.size, moment_of, accepts, is_descending=query.is_descending)
    return ResultPage(
        page.items,
        _make_token(query, page.items[-1].moment) if page.has_after else None,
        _make_token(query, page.items[0].moment, is_back=True) if page.has_before else None,
    )


def _take_counted(records: Sequence[R], query: PageQuery, accepts: Callable[[R], bool] | None) -> ResultPage[R]:
    start = max(0, query.position.mark) if query.position else 0
    end = start + query.size
    shown = [each for each in records if accepts is None or accepts(each)]
    if query.is_descending:
        shown.reverse()
    return ResultPage(
        shown[start:end],
        _make_token(query, end) if len(shown) > end else None,
        _make_token(query, max(0, start - query.size)) if start else None,
    )


def _make_token(query: PageQuery, mark: int, *, is_back: bool = False) -> str:
    return encode_token(query.listing, mark, is_back)


def _read_token(token: str, listing: str) -> PagePosition[int]:
    try:
        value = decode_token(token)
    except ValueError as error:
        raise invalid("pageToken", "is not a token of this list") from error
    match value:
        case [str(name), int(mark), bool(is_back)] if name == listing:
            return PagePosition(mark, is_back)
    raise invalid("pageToken", "is not a token of this list")
