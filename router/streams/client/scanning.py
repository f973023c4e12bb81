"""Finding keys by a pattern, over all servers of a deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from router.streams.client.cluster import ClusterClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis


async def scan_keys(redis: Redis, pattern: str, *, count: int = 1000) -> AsyncIterator[list[bytes]]:
    """Yield pages of the keys that match; a key may come twice, and one made meanwhile may come or not."""
    nodes = list((await redis.nodes()).values()) if isinstance(redis, ClusterClient) else [redis]
    for node in nodes:
        cursor = 0
        while True:
            page: Any
            cursor, page = await node.scan(cursor, match=pattern, count=count)
            yield page
            if not cursor:
                break
