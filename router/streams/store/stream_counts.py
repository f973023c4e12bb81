"""Two numbers of many streams, in one round trip, for those who watch how they change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.streams.client.connection import Redis


class StreamCounts(NamedTuple):
    """The entries that were ever added to a stream, and those that its groups have not read, where that is known."""

    added: int = 0
    unread: int = 0


async def count_streams(redis: Redis, streams: Sequence[str]) -> list[StreamCounts]:
    """Return the counts of streams; a key that does not exist or is no stream has none. Raises RedisError."""
    pipeline = redis.pipeline(transaction=False)
    for key in streams:
        pipeline.xinfo_stream(key)
        pipeline.xinfo_groups(key)
    replies = await pipeline.execute(raise_on_error=False)
    return [_count(stream, groups) for stream, groups in zip(replies[::2], replies[1::2], strict=True)]


def _count(stream: Any, groups: Any) -> StreamCounts:
    for reply in (stream, groups):
        if isinstance(reply, ResponseError):
            return StreamCounts()
        if isinstance(reply, Exception):
            raise reply
    return StreamCounts(int(stream.get("entries-added", 0)), sum(int(group.get("lag") or 0) for group in groups))
