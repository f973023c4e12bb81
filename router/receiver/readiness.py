"""`/readyz`: whether a webhook that arrived now would be made durable, in Redis or in the spool, and answered 200."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from router.core.errors import NotDurableError
from router.logs import describe_fully
from router.streams.client.connection import RedisError
from router.streams.store.append import is_outage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.receiver.spool.spool import Spool

#: Seconds that Redis may take to make an event durable, or to answer, before the spool takes over. Callers give up
#: after 5 to 15 seconds, and the spool needs time too.
REDIS_TIMEOUT: Final = 2.0
#: Seconds for one node of a Cluster; more than its replicas may take (ROUTER_REDIS_WAIT_TIMEOUT).
NODE_TIMEOUT: Final = 1.8


def make_readyz(
    check: Callable[[], Awaitable[object]], spool: Spool | None
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return the handler of `/readyz`; `check` raises NotDurableError, RedisError or OSError if Redis takes no events.

    Once Redis has failed, the spool is active, and goes by the attempts of the drainer, for a webhook as for this.
    """

    async def ask_redis() -> str:
        if spool is not None and (problem := await spool.turns.look_for_redis()):
            return problem.partition(":")[0]
        try:
            async with asyncio.timeout(REDIS_TIMEOUT):
                await check()
        except (NotDurableError, RedisError, OSError) as error:
            if spool is not None and not (isinstance(error, NotDurableError) and not is_outage(error)):
                spool.activate(describe_fully(error))
            return type(error.__cause__ or error).__name__
        return "ok"

    async def readyz(_: web.Request) -> web.Response:
        redis = await ask_redis()
        is_ready = redis == "ok" or (spool is not None and await spool.can_write())
        answer: dict[str, Any] = {
            "status": "ready" if is_ready else "not ready",
            "redis": redis,
            "spool": spool.describe() if spool else {"status": "off"},
        }
        return web.json_response(answer, status=200 if is_ready else 503)

    return readyz
