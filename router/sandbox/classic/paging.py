"""Pages of the classic API: `PageSize`, `Page`, `PageToken`, and a `meta` full of complete URLs.

`Page` is the client's own counter and moves nothing; the token names a place between two records, so that what exists
throughout is neither lost nor doubled. A page size over the maximum is taken as the maximum.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_left, bisect_right
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import orjson

from router.sandbox.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DEFAULT_SIZE: Final = 50
MAX_SIZE: Final = 100
_DIGITS: Final = 9

T = TypeVar("T")


class PagePosition(NamedTuple):
    """Between two records: after the one with `mark` or, if `is_back`, before it."""

    mark: str
    is_back: bool = False


class ClassicQuery(NamedTuple):
    """What a list was asked for; `url` is the list's own, `filters` come again in every URL."""

    url: str
    key: str
    filters: dict[str, str]
    size: int
    page: int
    token: str | None

    def link(self, page: int, token: str | None) -> str:
        """Return the URL of a page of this list."""
        query = {**self.filters, "PageSize": str(self.size), "Page": str(page)}
        if token is not None:
            query["PageToken"] = token
        return f"{self.url}?{urlencode(query, quote_via=quote)}"


def read_query(
    query: Mapping[str, str], url: str, key: str, filters: Mapping[str, str | None], maximum: int = MAX_SIZE
) -> ClassicQuery:
    """Read the paging parameters; raises RefusalError (400) for a page or page size that is no number."""
    size = _number(query.get("PageSize"), "PageSize", DEFAULT_SIZE)
    if size < 1:
        raise invalid("PageSize", "must be at least 1")
    page = _number(query.get("Page"), "Page", 0)
    given = {name: value for name, value in filters.items() if value is not None}
    return ClassicQuery(url, key, given, min(size, maximum), page, query.get("PageToken"))


def _number(text: str | None, name: str, default: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise invalid(name, "must be a whole number")
    return int(text)


def page_wire(
    records: Sequence[T],
    query: ClassicQuery,
    mark: Callable[[T], str],
    make: Callable[[T], dict[str, Any]],
    accepts: Callable[[T], bool] | None = None,
) -> dict[str, Any]:
    """Return the asked page of `records`, which are in order of their `mark`, as the API's JSON object."""
    place = _decode(query.token) if query.token else None
    items, has_previous, has_next = _take(records, place, query.size, mark, accepts)
    meta = {
        "page": query.page,
        "page_size": query.size,
        "first_page_url": query.link(0, None),
        "previous_page_url": (
            query.link(max(0, query.page - 1), _encode(PagePosition(mark(items[0]), is_back=True)))
            if has_previous
            else None
        ),
        "url": query.link(query.page, query.token),
        "next_page_url": query.link(query.page + 1, _encode(PagePosition(mark(items[-1])))) if has_next else None,
        "key": query.key,
    }
    return {"meta": meta, query.key: [make(item) for item in items]}


def _take(
    records: Sequence[T],
    place: PagePosition | None,
    size: int,
    mark: Callable[[T], str],
    accepts: Callable[[T], bool] | None,
) -> tuple[list[T], bool, bool]:
    """Return the items and whether there are others before and after them."""

    def walk(numbers: range) -> list[T]:
        found = (records[number] for number in numbers)
        return list(islice((each for each in found if accepts is None or accepts(each)), size + 1))

    if place is not None and place.is_back:
        end = bisect_left(records, place.mark, key=mark)
        items = walk(range(end - 1, -1, -1))
        return items[:size][::-1], len(items) > size, bool(items) and bool(walk(range(end, len(records))))
    start = bisect_right(records, place.mark, key=mark) if place else 0
    items = walk(range(start, len(records)))
    return items[:size], bool(items) and bool(walk(range(start - 1, -1, -1))), len(items) > size


def _encode(place: PagePosition) -> str:
    return "PT" + urlsafe_b64encode(orjson.dumps(list(place))).decode().rstrip("=")


def _decode(token: str) -> PagePosition:
    try:
        text = token.removeprefix("PT")
        value = orjson.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError as error:
        raise invalid("PageToken", "is not a token of this list") from error
    match value:
        case [str(mark), bool(is_back)]:
            return PagePosition(mark, is_back)
    raise invalid("PageToken", "is not a token of this list")
