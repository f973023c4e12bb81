"""The events that wait until something recovers, each with its reason, since when, and when it is tried again."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from router.console.operations.models import ListAnswer
from router.console.operations.parts import (
    FILTER_PARAMETERS,
    MOST_LOOKED_AT,
    page_of,
    read_filters,
    read_limit,
    read_offset,
    read_selection,
    without_reason,
)
from router.console.pages import Page, Role, View
from router.operations.waiting import count_waiting, is_wanted, look_through_waiting

if TYPE_CHECKING:
    from router.console.request import ConsoleRequest


async def list_page(request: ConsoleRequest) -> View:
    """Show the events that wait and match; the cursor is the number of events before the page, also of other ones.

    The place in Redis would be a better one, but it contains the customer's address.
    """
    query, ports = request.query, request.ports
    offset, limit = read_offset(query), read_limit(query)
    unmasked = request.sees_unmasked
    selection, shown = without_reason(read_selection(query, ports.clock()), unmasked=unmasked)
    items: list[dict[str, Any]] = []
    looked_at, following = 0, None
    async for event in look_through_waiting(ports.redis, ports.keys, selection, skip=offset):
        if len(items) == limit or looked_at == MOST_LOOKED_AT:
            following = str(offset + looked_at)
            break
        looked_at += 1
        if is_wanted(selection, event):
            item = event.to_json(unmasked=unmasked)
            items += [item] if shown in item["reason"].casefold() else []
    reasons = Counter(item["reason"] for item in items)
    extra = {
        "filters": read_filters(query),
        "limit": query.get("limit", ""),
        "total": await count_waiting(ports.redis, ports.keys),
        "reasons": dict(reasons.most_common()),
        "is_part": bool(offset or following),
    }
    return View(page_of(items, following), extra=extra)


PAGES: Final = (
    Page(
        "GET",
        "/waiting",
        list_page,
        Role.VIEWER,
        "Waiting events",
        "operations/waiting.html",
        navigation="Waiting",
        query=FILTER_PARAMETERS,
        answer=ListAnswer,
    ),
)
