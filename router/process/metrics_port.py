"""`/metrics` for processes without an HTTP port of their own: worker and consumers with ROUTER_METRICS_PORT set."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from prometheus_client import start_http_server

from router.metrics import REGISTRY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.settings.model import Settings


@asynccontextmanager
async def operator_port(settings: Settings) -> AsyncIterator[None]:
    """Serve metrics while the block runs, from a thread of prometheus_client; nothing where the port is 0."""
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
