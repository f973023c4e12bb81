"""`/metrics` of the receiver: counts of this process or of all that share its port, and the state of the streams."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from router import metrics
from router.process.metrics_hub import MetricsLink
from router.streams.client.connection import RedisError
from router.streams.store.inspect import update_gauges

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.keys import Keys
    from router.receiver.spool.spool import Spool
    from router.streams.client.clock import RedisClock
    from router.streams.client.connection import Redis


class Exposition:
    """Answers requests for `/metrics`; `keys` returns those of the present partitions."""

    def __init__(self, redis: Redis, keys: Callable[[], Keys], clock: RedisClock, spool: Spool | None) -> None:
        self._redis, self._keys, self._clock, self._spool = redis, keys, clock, spool
        self._link: MetricsLink | None = None

    async def join(self, descriptor: int) -> None:
        """Show the sums of all processes from now on; `descriptor` is the socket to the supervisor."""
        self._link = await MetricsLink.open(descriptor, self._show_own_gauges)

    async def leave(self) -> None:
        """Leave the counts of this process to the others; does nothing without `join`."""
        if self._link is not None:
            await self._link.close()

    async def handle(self, request: web.Request) -> web.Response:
        """Answer with all metrics; 503 if the sums are not to be had: those of one process would look like a reset."""
        try:
            total = await self._link.collect() if self._link is not None else None
        except OSError as error:
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text=f"no sum over all processes: {error}")
        try:
            await update_gauges(self._redis, self._keys(), clock=self._clock.milliseconds)
        except (RedisError, OSError):
            metrics.forget_gauges()
        self._show_own_gauges()
        body, content_type = metrics.render_for(request.headers.get("Accept", ""), total)
        return web.Response(body=body, headers={"Content-Type": content_type})

    def _show_own_gauges(self) -> None:
        """Set the gauges that are not read from Redis."""
        self._clock.show()
        if self._spool is not None:
            self._spool.update_gauges()
