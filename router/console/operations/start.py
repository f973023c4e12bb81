"""The first page: what is wrong and what to do about it, and the box that searches for a story."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.console.operations.models import StatusAnswer
from router.console.pages import Page, Role, View
from router.operations.status import read_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.console.request import ConsoleRequest

#: The page that shows more about a problem, by the section of docs/operations.md that is about it.
PAGES_OF_SECTIONS: Final[Mapping[str, str]] = {
    "a-process-is-not-running": "/processes",
    "consumer-groups": "/streams",
    "customers-wait-for-a-person": "/queues",
    "dead-letters": "/dead-letters",
    "events-wait-or-are-slow": "/waiting",
    "the-spool": "/processes",
    "what-to-do-about-a-403": "/quarantine?since=1h",
    "what-to-do-about-a-503": "/processes",
}


async def show_status(request: ConsoleRequest) -> View:
    """Show the state of the deployment."""
    status = await read_status(request.ports.redis, request.ports.settings)
    return View(
        status.to_json(), extra={"pages": PAGES_OF_SECTIONS, "alive": sum(p.is_alive for p in status.processes)}
    )


PAGES: Final = (
    Page("GET", "/", show_status, Role.VIEWER, "Now", "operations/start.html", navigation="Now", answer=StatusAnswer),
)
