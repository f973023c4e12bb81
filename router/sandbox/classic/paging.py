"""Pages of a classic list: `PageSize`, `Page`, `PageToken`, and a `meta` of complete URLs.

`Page` is a counter of the client and moves nothing; the token names the position. A page size over the maximum is
reduced to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

from router.sandbox.errors import invalid
from router.sandbox.paging import DEFAULT_SIZE, PagePosition, cut_page, decode_token, encode_token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from router.sandbox.bodies import Wire

MAX_SIZE: Final = 100
_DIGITS: Final = 9
_PREFIX: Final = "PT"

T = TypeVar("T")


class ClassicQuery(NamedTuple):
    """The parameters of a list request; `url` is the list's own, `filters` are repeated in every URL of `meta`."""

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
    """Read the paging parameters; raises RefusalError (400) for a page or page size that is not a number."""
    size = _read_number(query.get("PageSize"), "PageSize", DEFAULT_SIZE)
    if size < 1:
        raise invalid("PageSize", "must be at least 1")
    page = _read_number(query.get("Page"), "Page", 0)
    given = {name: value for name, value in filters.items() if value is not None}
    return ClassicQuery(url, key, given, min(size, maximum), page, query.get("PageToken"))


def _read_number(text: str | None, name: str, default: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise invalid(name, "must be a whole number")
    return int(text)


def page_wire(
    records: Sequence[T],
    query: ClassicQuery,
    mark_of: Callable[[T], str],
    make: Callable[[T], Wire],
    accepts: Callable[[T], bool] | None = None,
    *,
    is_descending: bool = False,
) -> Wire:
    """Return the page for `query` as the API's JSON object; `records` are in ascending order of their marks."""
    position = _read_token(query.token) if query.token else None
    page = cut_page(records, position, query.size, mark_of, accepts, is_descending=is_descending)
    previous_url = next_url = None
    if page.has_before:
        previous_url = query.link(max(0, query.page - 1), _make_token(mark_of(page.items[0]), is_back=True))
    if page.has_after:
        next_url = query.link(query.page + 1, _make_token(mark_of(page.items[-1]), is_back=False))
    meta = {
        "page": query.page,
        "page_size": query.size,
        "first_page_url": query.link(0, None),
        "previous_page_url": previous_url,
        "url": query.link(query.page, query.token),
        "next_page_url": next_url,
        "key": query.key,
    }
    return {"meta": meta, query.key: [make(item) for item in page.items]}


def _make_token(mark: str, *, is_back: bool) -> str:
    return _PREFIX + encode_token(mark, is_back)


def _read_token(token: str) -> PagePosition[str]:
    try:
        value = decode_token(token.removeprefix(_PREFIX))
    except ValueError as error:
        raise invalid("PageToken", "is not a token of this list") from error
    match value:
        case [str(mark), bool(is_back)]:
            return PagePosition(mark, is_back)
    raise invalid("PageToken", "is not a token of this list")
