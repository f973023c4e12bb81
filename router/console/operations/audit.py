"""The audit stream: every action of people and programs, the newest first."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from router.console.operations.models import ListAnswer
from router.console.operations.parts import CURSOR, LIMIT, page_of, read_limit
from router.console.pages import ConsoleError, Page, Role, View
from router.core.printable import masked
from router.core.timestamps import to_text

if TYPE_CHECKING:
    from router.console.request import ConsoleRequest
    from router.streams.store.audit import AuditEntry

#: The id of an entry; none is zero, and Redis refuses to look before that.
_ID: Final = re.compile(r"(?!0+-0+\Z)\d{1,16}-\d{1,19}", re.ASCII)


async def list_actions(request: ConsoleRequest) -> View:
    """Show the actions before the cursor."""
    cursor, limit = request.query.get("cursor", ""), read_limit(request.query)
    if cursor and not _ID.fullmatch(cursor):
        raise ConsoleError(400, "cursor must be the `next` of a page before.")
    entries = await request.ports.audit.read(before=cursor or None, limit=limit + 1)
    following = entries[limit - 1].entry_id if len(entries) > limit else None
    items = [_show(one, unmasked=request.sees_unmasked) for one in entries[:limit]]
    return View(page_of(items, following), extra={"limit": request.query.get("limit", "")})


def _show(entry: AuditEntry, *, unmasked: bool) -> dict[str, Any]:
    def shown(text: str, *, has_ids: bool = True) -> str:
        return text if unmasked else masked(text, has_ids=has_ids)

    return {
        "id": entry.entry_id,
        "at": to_text(entry.at * 1000),
        "who": shown(entry.who),
        "role": entry.role,
        "action": shown(entry.action),
        "what": shown(entry.what),
        "detail": shown(entry.detail, has_ids=False),  # filters, and reasons that quote what a stranger wrote
    }


PAGES: Final = (
    Page(
        "GET",
        "/audit",
        list_actions,
        Role.VIEWER,
        "Audit",
        "operations/audit.html",
        navigation="Audit",
        query=(CURSOR, LIMIT),
        answer=ListAnswer,
    ),
)
