"""`python -m router story ID|ADDRESS`: what became of an event, a conversation or a customer, stage by stage."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from router.commands.connected import connected
from router.core.errors import QueryError
from router.core.timestamps import MOMENTS, read_moment, to_text
from router.operations.stories import StorySearch
from router.operations.story_advice import advise
from router.process.terminal import CommandFailedError, complain, show, show_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from router.core.stories import Story

#: Exit statuses.
FOUND: Final = 0
NOTHING: Final = 1
COULD_NOT_LOOK: Final = 2


async def run_story(arguments: argparse.Namespace) -> int:
    """Print the story; returns the exit status."""
    try:
        around = read_around(arguments.around, time.time_ns() // 1000) if arguments.around else None
        async with connected() as (redis, settings):
            story = await StorySearch(redis, settings).find(arguments.query, around=around)
            is_kept = settings.story_ttl > 0
    except (QueryError, CommandFailedError, ValueError) as error:
        complain(str(error))
        return COULD_NOT_LOOK
    if arguments.json:
        show_json(story.to_json())
    elif story.found:
        show(*_as_text(story))
    else:
        why = "" if is_kept else ": ROUTER_STORY_TTL is 0, so no stories are kept"
        show(f"nothing is known of {story.subject}{f' around {to_text(around)}' if around is not None else ''}{why}")
        show(
            "to do: see whether webhooks were refused or could not be stored: python -m router status; "
            "python -m router quarantine list --since 1d"
        )
    return FOUND if story.found else NOTHING


def read_around(text: str, now: int) -> int:
    """Return the time in `text` in µs (core.timestamps.read_moment); raises ValueError."""
    moment = read_moment(text, now)
    if moment is None:
        raise ValueError(f"--around {text}: write {MOMENTS}")
    return moment


def _as_text(story: Story) -> Iterator[str]:
    events = {stage.id for stage in story.stages}
    yield f"{story.subject}, stages in order, times in UTC"
    for stage, advice in zip(story.stages, advise(story.stages), strict=True):
        about = f"  [{stage.id}]" if len(events) > 1 and stage.id else ""
        by = f"{stage.process}: " if stage.process else ""
        yield f"{to_text(stage.at)}  {stage.stage:<9}  {by}{stage.detail}{about}"
        if advice is not None:
            command = f": {advice.command}" if advice.command else ""
            yield f"{'':<24}  {'':<9}  to do: {advice.words}{command}"
