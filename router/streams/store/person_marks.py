"""Marks that people set on the page about themselves: that they are away, and up to when they have read a conversation.

Presence itself is told by commands, and lapses; a person who is away stays so over every lapse, until they say
otherwise. In partition 0. Both expire, and the marks are bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from router.core.keys import Keys
    from router.streams.client.connection import Redis

#: Seconds for which both are kept after the last change.
MARKS_LIFE: Final = 30 * 86_400
#: Read marks of one person; the oldest go first.
MAX_MARKS: Final = 1_000


class PersonMarks:
    """The marks of the people of one namespace."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def who_is_away(self, identities: Sequence[str]) -> set[str]:
        """Return those of the people who have said that they are away."""
        if not identities:
            return set()
        marks: Any = await self._redis.mget([self._keys.away(one) for one in identities])
        return {one for one, mark in zip(identities, marks, strict=True) if mark is not None}

    async def set_away(self, identity: str, *, is_away: bool) -> None:
        """Note that the person is away, or is not any more."""
        key = self._keys.away(identity)
        if is_away:
            await self._redis.set(key, "1", ex=MARKS_LIFE)
        else:
            await self._redis.delete(key)

    async def mark_read(self, identity: str, conversation: str, at: int) -> bool:
        """Note that the person has read a conversation up to `at` (µs since 1970); returns whether that is news."""
        key = self._keys.read_marks(identity)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.zadd(key, {conversation: at}, gt=True, ch=True)
        pipeline.zremrangebyrank(key, 0, -MAX_MARKS - 1)
        pipeline.expire(key, MARKS_LIFE)
        changed, *_ = await pipeline.execute()
        return bool(changed)

    async def read_marks(self, identity: str, conversations: Iterable[str]) -> dict[str, int]:
        """Return when each of the conversations was last read (µs); one that never was is missing."""
        names = list(conversations)
        if not names:
            return {}
        scores: Any = await self._redis.zmscore(self._keys.read_marks(identity), names)
        return {name: int(score) for name, score in zip(names, scores, strict=True) if score is not None}
