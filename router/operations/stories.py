"""The search for a story: by MessageSid, CallSid, conversation, participant, event id, idempotency key or address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.errors import QueryError
from router.core.stories import Story

if TYPE_CHECKING:
    from router.settings.model import Settings
    from router.streams.client.connection import Redis


class StorySearch:
    """Finds stories in all partitions of a namespace."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._settings = settings

    async def find(self, query: str, *, around: int | None = None) -> Story:
        """Return the story of what `query` names; `around` (µs since 1970) is the time of interest, None: the latest.

        A query that names nothing known gives a story that is not `found`. Raises QueryError for an empty query or
        one of wildcards, and RedisError or OSError if Redis cannot be read.
        """
        name = query.strip()
        if not name.strip("*?%_ "):
            raise QueryError("name a MessageSid, CallSid, conversation, participant, event id, key or address")
        del around
        return Story(found=False, subject=name)
