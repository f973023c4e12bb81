"""The search box, and the story that it leads to: what became of an event, a conversation or a customer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from router.console.operations.models import StoryAnswer
from router.console.operations.parts import read_time
from router.console.pages import ConsoleError, Page, Parameter, Role, View
from router.core.errors import QueryError
from router.core.stories import StageName
from router.core.timestamps import MOMENTS
from router.operations.stories import StorySearch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.console.request import ConsoleRequest
    from router.core.stories import Story, StoryStage

#: What may be done about a stage: the words, and the page.
NEXT: Final[Mapping[StageName, tuple[str, str]]] = {
    StageName.REFUSED: ("see why it was refused, and replay it", "/quarantine?event={id}"),
    StageName.WAITING: ("see what it waits for", "/waiting?event={id}"),
    StageName.DEAD: ("see why it was given up, and replay it", "/dead-letters?event={id}"),
    StageName.OFFERED: ("see who was asked and why", "/explain?q={id}"),
    StageName.ACCEPTED: ("see who was asked and why", "/explain?q={id}"),
}


async def show_story(request: ConsoleRequest) -> View:
    """Show the story of what the query names; raises ConsoleError for a query that names nothing."""
    query = request.query.get("q", "").strip()
    around = read_time("around", request.query.get("around", ""), request.ports.clock())
    try:
        story = await StorySearch(request.ports.redis, request.ports.settings).find(query, around=around)
    except QueryError as error:
        raise ConsoleError(400, f"{str(error)[:1].upper()}{str(error)[1:]}.") from error
    data = story.to_json()
    extra = {
        "query": query,
        "around": request.query.get("around", ""),
        "last": data["stages"][-1] if data["stages"] else None,
        "steps": [_step(stage, shown) for stage, shown in zip(story.stages, data["stages"], strict=True)],
        "events": _count_events(story),
    }
    return View(data, status=200 if story.found else 404, extra=extra)


def _step(stage: StoryStage, shown: Mapping[str, str]) -> dict[str, Any]:
    """Return a stage as the page shows it, with the next step and the story of its event."""
    words, path = NEXT.get(stage.stage, ("", ""))
    name = quote(stage.id, safe="")
    return {**shown, "todo": words, "path": path.format(id=name), "story": f"/story?q={name}" if stage.id else ""}


def _count_events(story: Story) -> int:
    return len({stage.id for stage in story.stages})


PAGES: Final = (
    Page(
        "GET",
        "/story",
        show_story,
        Role.VIEWER,
        "Story",
        "operations/story.html",
        query=(
            Parameter(
                "q",
                "a MessageSid, CallSid, conversation, participant, event id, idempotency key or address",
                is_required=True,
            ),
            Parameter("around", f"the time of interest: {MOMENTS}"),
        ),
        answer=StoryAnswer,
        other_statuses=(404,),
    ),
)
