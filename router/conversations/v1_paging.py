"""Lists of the classic API: `meta.next_page_url` is followed as it is given, and no token is ever built here.

A link leads nowhere but to the base's own origin (urls.follow_link). An item that comes again, because a page shifted
while others wrote, is skipped; a list that leads round in a circle or on for ever ends as ServerError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from router.conversations.answers import to_model
from router.conversations.paging import MAX_IDLE_PAGES, Listing, read_page
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

    from router.conversations.answers import ApiResponse

ItemT = TypeVar("ItemT", ClassicParticipant, ClassicMessage, ClassicConversation, ParticipantConversation)

#: The documented bounds of PageSize; for ParticipantConversations one source says 50, the other 1,000.
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
    """Yield every item that `accepts` takes once, at most `limit`; `fetch(None)` gets the first page.

    Raises ServerError for a list that does not end, and what `fetch` raises.
    """
    links: set[str] = set()
    known: set[object] = set()
    yielded, idle, link = 0, 0, None
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
        idle = 0 if len(known) > before else idle + 1
        if link in links or idle >= MAX_IDLE_PAGES:
            raise ServerError(f"{listing.route}: a list that does not end", status=200)
        links.add(link)


def _name(resource: ClassicResource) -> object:
    """Return what tells an item from others: a membership has no SID of its own in the lookup."""
    if isinstance(resource, ParticipantConversation):
        return resource.conversation_sid, resource.participant_sid
    return getattr(resource, "sid", None)


def _next_link(data: Mapping[str, Any], listing: Listing) -> str | None:
    link = (data.get("meta") or {}).get("next_page_url")
    if link is not None and not isinstance(link, str):
        raise ServerError(f"{listing.route}: a next page that is no URL", status=200)
    return link or None
