"""The search box, and the story that it leads to: what became of an event, a conversation or a customer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from router.console.operations.models import StoryAnswer
from router.console.operations.parts import read_time
from router.console.pages import ConsoleError, Page, Parameter, Role, View
from router.core.errors import QueryError
from router.core.timestamps import MOMENTS
from router.operations.stories import StorySearch
from router.operations.story_advice import advise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.console.request import ConsoleRequest
    from router.core.stories import Story
    from router.operations.story_advice import Advice


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
        "steps": [_step(*one) for one in zip(data["stages"], advise(story.stages), strict=True)],
        "events": _count_events(story),
    }
    return View(data, status=200 if story.found else 404, extra=extra)


def _step(shown: Mapping[str, str], advice: Advice | None) -> dict[str, Any]:
    """Return a stage as the page shows it, with what to do about it and the story of its event."""
    words, path = (advice.words, advice.path) if advice is not None else ("", "")
    name = quote(shown["id"], safe="")
    return {**shown, "todo": words, "path": path, "story": f"/story?q={name}" if name else ""}


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
