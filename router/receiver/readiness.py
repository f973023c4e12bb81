"""`/readyz`: whether a webhook that arrived now could be made durable, in Redis or in the spool."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from router.streams.client.connection import Redis, RedisError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.receiver.spool.spool import Spool

#: Seconds that Redis may take to make an event durable, or to answer, before the spool takes over. Callers give up
#: after 5 to 15 seconds, and the spool needs time too.
REDIS_TIMEOUT: Final = 2.0
#: Seconds for one node of a Cluster; more than its replicas may take (ROUTER_REDIS_WAIT_TIMEOUT).
NODE_TIMEOUT: Final = 1.8


def make_ping(redis: Redis) -> Callable[[], Awaitable[None]]:
    """Return a function that raises RedisError or OSError unless Redis answers in time."""

    async def ping() -> None:
        async with asyncio.timeout(REDIS_TIMEOUT):
            await redis.ping()

    return ping


def make_readyz(
    ping: Callable[[], Awaitable[object]], spool: Spool | None
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return the handler of `/readyz`."""

    async def readyz(_: web.Request) -> web.Response:
        redis = "ok"
        try:
            await ping()
        except (RedisError, OSError) as error:
            redis = type(error).__name__
        is_ready = redis == "ok" or (spool is not None and spool.is_usable)
        answer: dict[str, Any] = {
            "status": "ready" if is_ready else "not ready",
            "redis": redis,
            "spool": spool.describe() if spool else {"status": "off"},
        }
        return web.json_response(answer, status=200 if is_ready else 503)

    return readyz
