"""`/metrics` for the processes that serve no HTTP: worker and handlers, where ROUTER_METRICS_PORT is set."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from prometheus_client import start_http_server

from router.metrics import REGISTRY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.settings.model import Settings


@asynccontextmanager
async def metrics_port(settings: Settings) -> AsyncIterator[None]:
    """Serve metrics while the block runs, from a thread of prometheus_client; port 0 serves nothing."""
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
