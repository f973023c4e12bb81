"""The writer of stories of a process and their index, from its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router import metrics
from router.streams.store.stories import StoryWriter
from router.streams.store.story_index import StoryBounds, StoryIndex

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.settings.model import Settings
    from router.streams.client.connection import Redis


def make_stories(
    settings: Settings, redis: Redis, *, process: str, clock: Callable[[], int], is_refused: bool = False
) -> StoryWriter | None:
    """Return the writer of `process`, for what was refused with `is_refused`; None if the settings switch it off."""
    bounds = _refused_bounds(settings) if is_refused else StoryBounds(settings.story_ttl, settings.story_max)
    if not bounds.life or not bounds.most:
        return None
    for result in ("written", "failed"):
        metrics.expect("router_story_lines", result)
    return StoryWriter(
        redis,
        settings.keys,
        life=bounds.life,
        secret=settings.story_secrets[0],
        process=process,
        clock=clock,
        is_refused=is_refused,
    )


def make_story_index(settings: Settings, redis: Redis) -> StoryIndex:
    """Return the index of the stories of a namespace."""
    bounds = StoryBounds(settings.story_ttl, settings.story_max)
    return StoryIndex(redis, settings.keys, bounds, _refused_bounds(settings))


def _refused_bounds(settings: Settings) -> StoryBounds:
    return StoryBounds(min(settings.story_ttl, settings.quarantine_ttl), settings.quarantine_max)
