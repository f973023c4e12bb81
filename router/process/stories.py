"""The writer of stories of a process, from its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router import metrics
from router.streams.store.stories import StoryBounds, StoryWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.settings.model import Settings
    from router.streams.client.connection import Redis


def make_stories(
    settings: Settings, redis: Redis, *, process: str, clock: Callable[[], int], is_refused: bool = False
) -> StoryWriter | None:
    """Return the writer of `process`, for what was refused with `is_refused`; None if the settings switch it off."""
    life, most = settings.story_ttl, settings.story_max
    if is_refused:
        life, most = min(life, settings.quarantine_ttl), settings.quarantine_max
    if not life or not most:
        return None
    for result in ("written", "failed"):
        metrics.expect("router_story_lines", result)
    return StoryWriter(
        redis,
        settings.keys,
        StoryBounds(life, most),
        secret=settings.story_secrets[0],
        process=process,
        clock=clock,
        is_refused=is_refused,
    )
