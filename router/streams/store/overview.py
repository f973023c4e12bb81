"""The counts and the newest entries of many streams, in one round trip, for those who watch them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import ResponseError

from router.streams.client.error_replies import is_refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.streams.client.connection import Redis


class StreamCounts(NamedTuple):
    """The entries that were ever added to a stream, and those that its groups have not read, where that is known."""

    added: int = 0
    unread: int = 0


async def count_streams(redis: Redis, streams: Sequence[str]) -> list[StreamCounts]:
    """Return the counts of streams; a key that does not exist or is no stream has none.

    Raises RedisError, also for a reply that ends by itself, such as BUSY: no count is known then.
    """
    pipeline = redis.pipeline(transaction=False)
    for key in streams:
        pipeline.xinfo_stream(key)
        pipeline.xinfo_groups(key)
    replies = await pipeline.execute(raise_on_error=False)
    return [_count(stream, groups) for stream, groups in zip(replies[::2], replies[1::2], strict=True)]


async def read_newest(redis: Redis, streams: Sequence[str], limit: int) -> list[list[tuple[bytes, dict[bytes, bytes]]]]:
    """Return the newest entries of each stream, newest first; a key that is no stream has none. Raises RedisError."""
    pipeline = redis.pipeline(transaction=False)
    for key in streams:
        pipeline.xrevrange(key, count=limit)
    return [_entries(reply) for reply in await pipeline.execute(raise_on_error=False)]


def _entries(reply: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    return [] if _has_none(reply) else reply or []


def _count(stream: Any, groups: Any) -> StreamCounts:
    if _has_none(stream) or _has_none(groups):
        return StreamCounts()
    return StreamCounts(int(stream.get("entries-added", 0)), sum(int(group.get("lag") or 0) for group in groups))


def _has_none(reply: Any) -> bool:
    """Return whether a reply says that the key is no stream; raises it if it is another error."""
    if isinstance(reply, ResponseError) and is_refusal(reply):
        return True
    if isinstance(reply, Exception):
        raise reply
    return False
