"""The people and their queues: who is present with which conversations, and who waits how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.console.operations.models import ListAnswer
from router.console.operations.parts import page_of
from router.console.pages import ConsoleError, Page, Role, View
from router.core.errors import SettingsError
from router.operations.team import read_team

if TYPE_CHECKING:
    from router.console.request import ConsoleRequest
    from router.operations.team import TeamReport


async def list_agents(request: ConsoleRequest) -> View:
    """Show the people of the roster, and those who are present without being in it."""
    return View(page_of([agent.to_json() for agent in (await _read(request)).agents]))


async def list_queues(request: ConsoleRequest) -> View:
    """Show the queues, those with waiting conversations first."""
    queues = sorted((await _read(request)).queues, key=lambda queue: -queue.waiting)
    return View(page_of([queue.to_json() for queue in queues]))


async def _read(request: ConsoleRequest) -> TeamReport:
    try:
        return await read_team(request.ports.redis, request.ports.settings, now=request.ports.clock())
    except SettingsError as error:
        raise ConsoleError(409, f"The people and queues cannot be read: {'; '.join(error.problems)}.") from error


PAGES: Final = (
    Page(
        "GET",
        "/agents",
        list_agents,
        Role.VIEWER,
        "Agents",
        "operations/agents.html",
        navigation="Agents",
        answer=ListAnswer,
    ),
    Page(
        "GET",
        "/queues",
        list_queues,
        Role.VIEWER,
        "Queues",
        "operations/queues.html",
        navigation="Queues",
        answer=ListAnswer,
    ),
)
