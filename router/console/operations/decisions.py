"""Why a decision fell: who holds a conversation, decision by decision, and why nobody is asked while one waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from router.console.operations.models import ExplainAnswer
from router.console.pages import ConsoleError, Page, Parameter, Role, View
from router.core.errors import SettingsError
from router.core.timestamps import to_text
from router.operations.decisions import read_decisions

if TYPE_CHECKING:
    from router.console.request import ConsoleRequest

#: Seconds for a search through all conversations, which only a participant needs.
PATIENCE: Final = 5.0
_EMPTY: Final = "Name a conversation or a participant."
_TOO_MANY: Final = "The search through all conversations takes too long here: use `python -m router explain {name}`."


async def explain(request: ConsoleRequest) -> View:
    """Show the decisions of a conversation, or of the one that a participant is in."""
    name = request.query.get("q", "").strip()
    if "q" not in request.query:
        return View({"found": False, "subject": ""})
    if not name.strip("*?"):
        raise ConsoleError(400, _EMPTY)
    try:
        async with asyncio.timeout(PATIENCE):
            found = await read_decisions(request.ports.redis, request.ports.settings, name)
    except TimeoutError as error:
        raise ConsoleError(503, _TOO_MANY.format(name=name)) from error
    except SettingsError as error:
        raise ConsoleError(409, f"The people and queues cannot be read: {'; '.join(error.problems)}.") from error
    if found is None:
        return View({"found": False, "subject": name}, status=404)
    data: dict[str, Any] = {"found": True, "subject": name, **found.to_json(), "unreadable": found.unreadable}
    for line in data["journal"]:
        line["time"] = to_text(line["at"] * 1000)
    return View(data)


PAGES: Final = (
    Page(
        "GET",
        "/explain",
        explain,
        Role.VIEWER,
        "Why a decision fell",
        "operations/explain.html",
        navigation="Explain",
        query=(Parameter("q", "the id of a conversation or participant"),),
        answer=ExplainAnswer,
        other_statuses=(404,),
    ),
)
