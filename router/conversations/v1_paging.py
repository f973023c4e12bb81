"""Lists of the classic API, page by page: follows `meta.next_page_url` as given, yields each item once.

A link is followed only on the origin of the base (urls.follow_link). An item that is repeated, as happens when a page
shifts during concurrent writes, is skipped. A list that repeats a link or never ends is a ServerError.
https://www.twilio.com/docs/usage/twilios-response
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from router.conversations.paging import Listing, PageGuard, read_page
from router.conversations.responses import to_model
from router.core.classic.resources import (
    ClassicConversation,
    ClassicMessage,
    ClassicParticipant,
    ClassicResource,
    ParticipantConversation,
)
from router.core.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from router.conversations.responses import ApiResponse

ItemT = TypeVar("ItemT", ClassicParticipant, ClassicMessage, ClassicConversation, ParticipantConversation)

#: The documented bounds of PageSize; for ParticipantConversations the sources disagree (50 or 1,000).
PAGE_SIZES: Final = range(1, 101)
LOOKUP_PAGE_SIZES: Final = range(1, 51)


async def iterate_links(
    fetch: Callable[[str | None], Awaitable[ApiResponse]],
    model: type[ItemT],
    listing: Listing,
    *,
    limit: int | None = None,
    accepts: Callable[[ItemT], bool] | None = None,
) -> AsyncIterator[ItemT]:
    """Yield every item that `accepts` is true for, once, at most `limit`; `fetch(None)` returns the first page.

    Raises ServerError for a list that does not end, and the errors of `fetch`.
    """
    guard = PageGuard(listing.route)
    known: set[object] = set()
    yielded, link = 0, None
    while limit is None or yielded < limit:
        data = (await fetch(link)).data
        before = len(known)
        for item in read_page(data, listing).items:
            resource = to_model(model, item, route=listing.route)
            if _name(resource) in known or (limit is not None and yielded >= limit):
                continue
            known.add(_name(resource))
            if accepts is None or accepts(resource):
                yielded += 1
                yield resource
        link = _next_link(data, listing)
        if link is None:
            return
        guard.follow(link, is_new=len(known) > before)


def _name(resource: ClassicResource) -> object:
    """Return the identity of an item; a membership in a lookup has no SID of its own."""
    if isinstance(resource, ParticipantConversation):
        return resource.conversation_sid, resource.participant_sid
    return getattr(resource, "sid", None)


def _next_link(data: Mapping[str, Any], listing: Listing) -> str | None:
    link = (data.get("meta") or {}).get("next_page_url")
    if link is not None and not isinstance(link, str):
        raise ServerError(f"{listing.route}: a next page that is not a URL", status=200)
    return link or None
