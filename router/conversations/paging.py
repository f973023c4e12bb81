"""Lists of the API, page by page: `meta.nextToken` leads on, the filters are repeated, an item is given once.

The order of lists and the life of tokens are not documented, so nothing relies on them: an id that comes again (a page
shifts while others write) is skipped, and a list that leads round in a circle or on for ever ends as ServerError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from router.conversations.answers import ApiResponse, to_model
from router.core.errors import ServerError
from router.core.resources import Communication, Conversation, Participant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

ItemT = TypeVar("ItemT", Participant, Conversation, Communication)

PAGE_SIZES: Final = range(1, 1001)
#: So many pages in a row without one new item, each with a new token, are not a list any more.
MAX_IDLE_PAGES: Final = 100


class Page(NamedTuple):
    """One page: its items as they came, and the token of the next page or None at the end."""

    items: list[dict[str, Any]]
    next_token: str | None


class Listing(NamedTuple):
    """What is listed: the name under which lists of it travel, and the route that errors name."""

    key: str
    route: str


def read_page(data: Mapping[str, Any], listing: Listing) -> Page:
    """Find the items under `meta.key`, else under the list's usual name, else as the only list there is.

    Raises ServerError for a body without such a list, or with items that are not objects.
    """
    meta = data.get("meta") or {}
    if not isinstance(meta, dict):
        raise ServerError(f"{listing.route}: a list whose meta is not an object", status=200)
    items = _find_items(data, meta.get("key"), listing)
    if not all(isinstance(item, dict) for item in items):
        raise ServerError(f"{listing.route}: a list with items that are not objects", status=200)
    token = meta.get("nextToken")
    return Page(items, str(token) if token else None)


def _find_items(data: Mapping[str, Any], key: object, listing: Listing) -> list[Any]:
    for name in (key, listing.key):
        if isinstance(name, str) and isinstance(data.get(name), list):
            return list(data[name])
    lists = [value for name, value in data.items() if name != "meta" and isinstance(value, list)]
    if len(lists) == 1:
        return list(lists[0])
    if not lists and isinstance(key, str) and data.get(key) is None:
        return []  # the page says what it lists, and that there is none of it
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
    """Yield every item once, fetching a page when the one before is used up; at most `limit` items.

    Raises ValueError for a page size outside 1 to 1000, ServerError for a list that does not end, and what `fetch`
    raises.
    """
    if page_size not in PAGE_SIZES:
        raise ValueError("a page has 1 to 1000 items")
    query = {**filters, "pageSize": str(page_size)}
    tokens: set[str] = set()
    known: set[str] = set()
    idle = 0
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
        idle = 0 if len(known) > before else idle + 1
        if page.next_token in tokens or idle >= MAX_IDLE_PAGES:
            raise ServerError(f"{listing.route}: a list that does not end", status=200)
        tokens.add(page.next_token)
        query["pageToken"] = page.next_token
