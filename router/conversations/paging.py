"""Lists of the v2 API, page by page: follows `meta.nextToken`, repeats the filters, yields each item once.

The order of lists and the lifetime of tokens are not documented, so nothing relies on them. An id that is repeated, as
happens when a page shifts during concurrent writes, is skipped. A list that repeats a token or never ends is a
ServerError.
https://www.twilio.com/docs/api/conversations/v2
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from router.conversations.responses import ApiResponse, to_model
from router.core.errors import ServerError
from router.core.resources import Communication, Conversation, Participant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

ItemT = TypeVar("ItemT", Participant, Conversation, Communication)

PAGE_SIZES: Final = range(1, 1001)
#: Successive pages without a new item after which a list counts as endless.
MAX_IDLE_PAGES: Final = 100


class ListPage(NamedTuple):
    """One page: its items as received, and the token of the next page or None at the end."""

    items: list[dict[str, Any]]
    next_token: str | None


class PageGuard:
    """Detects a list that repeats a page, or brings nothing new for MAX_IDLE_PAGES pages."""

    def __init__(self, route: str) -> None:
        self._route = route
        self._followed: set[str] = set()
        self._idle = 0

    def follow(self, page: str, *, is_new: bool) -> None:
        """Note that `page` is next; `is_new` if the one before it had a new item. Raises ServerError."""
        self._idle = 0 if is_new else self._idle + 1
        if page in self._followed or self._idle >= MAX_IDLE_PAGES:
            raise ServerError(f"{self._route}: a list that does not end", status=200)
        self._followed.add(page)


class Listing(NamedTuple):
    """One kind of list: the field that holds its items, and the route that errors name."""

    key: str
    route: str


def read_page(data: Mapping[str, Any], listing: Listing) -> ListPage:
    """Return the items under `meta.key`, else under the list's usual name, else of the only list in the body.

    Raises ServerError for a body without such a list, or with items that are not objects.
    """
    meta = data.get("meta") or {}
    if not isinstance(meta, dict):
        raise ServerError(f"{listing.route}: a list whose meta is not an object", status=200)
    items = _find_items(data, meta.get("key"), listing)
    if not all(isinstance(item, dict) for item in items):
        raise ServerError(f"{listing.route}: a list with items that are not objects", status=200)
    token = meta.get("nextToken")
    return ListPage(items, str(token) if token else None)


def _find_items(data: Mapping[str, Any], key: object, listing: Listing) -> list[Any]:
    for name in (key, listing.key):
        if isinstance(name, str) and isinstance(data.get(name), list):
            return list(data[name])
    lists = [value for name, value in data.items() if name != "meta" and isinstance(value, list)]
    if len(lists) == 1:
        return list(lists[0])
    if not lists and isinstance(key, str) and data.get(key) is None:
        return []  # the page names its list and leaves it out: no items
    raise ServerError(f"{listing.route}: a page without its list", status=200)


async def iterate(
    fetch: Callable[[Mapping[str, str | Sequence[str]]], Awaitable[ApiResponse]],
    model: type[ItemT],
    listing: Listing,
    *,
    filters: Mapping[str, str | Sequence[str]],
    page_size: int,
    limit: int | None = None,
) -> AsyncIterator[ItemT]:
    """Yield every item once, at most `limit`; the next page is fetched when the current one is used up.

    Raises ValueError for a page size outside 1 to 1000, ServerError for a list that does not end, and the errors of
    `fetch`.
    """
    if page_size not in PAGE_SIZES:
        raise ValueError("a page has 1 to 1000 items")
    query = {**filters, "pageSize": str(page_size)}
    guard = PageGuard(listing.route)
    known: set[str] = set()
    while limit is None or len(known) < limit:
        page = read_page((await fetch(query)).data, listing)
        before = len(known)
        for item in page.items:
            resource = to_model(model, item, route=listing.route)
            if resource.id not in known and (limit is None or len(known) < limit):
                known.add(resource.id)
                yield resource
        if page.next_token is None:
            return
        guard.follow(page.next_token, is_new=len(known) > before)
        query["pageToken"] = page.next_token
