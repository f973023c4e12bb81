"""The run of a stream consumer as a process, for the worker and for every handler.

Start, log lines, metrics port, stop and exit status are the same for all of them.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from prometheus_client import start_http_server

from router.logs import log
from router.metrics import REGISTRY
from router.process.loop import fail, settle_heap, until_stopped_or
from router.streams.client.connection import RedisError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from router.settings.model import Settings
    from router.streams.consuming.consumer import StreamConsumer


async def run_consumer(
    consuming: AbstractAsyncContextManager[StreamConsumer], settings: Settings, **details: str
) -> int:
    """Consume until SIGTERM or SIGINT; entries in flight are finished or handed back, then returns 0.

    Returns 1 if Redis fails during the start, or if reading ends for good because a stream's key holds another type:
    that needs operator action. `details` are further fields of the line `process.started`.
    """
    try:
        async with consuming as consumer, metrics_port(settings):
            settle_heap()
            log("process.started", consumer=consumer.name, **details, settings=settings.masked())
            failure = await until_stopped_or(consumer.failed())
    except RedisError as error:  # after the start, an outage is waited out
        return fail(f"Redis: {type(error).__name__}: {error}")
    if failure is not None:
        return fail(failure)
    log("process.stopped")
    return 0


@asynccontextmanager
async def metrics_port(settings: Settings) -> AsyncIterator[None]:
    """Serve `/metrics` on ROUTER_METRICS_PORT while the block runs; port 0 serves nothing.

    The server runs in a thread of prometheus_client.
    """
    if not settings.metrics_port:
        yield
        return
    server, thread = start_http_server(settings.metrics_port, addr=settings.host, registry=REGISTRY)
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
