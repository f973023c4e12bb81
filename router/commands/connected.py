"""The connection that commands work with: settings and Redis, closed again at the end."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from router.settings.load import load
from router.streams.client.connection import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from router.settings.model import Settings
    from router.streams.client.connection import Redis


@asynccontextmanager
async def connected(require: Iterable[str] = ("redis_url",)) -> AsyncIterator[tuple[Redis, Settings]]:
    """Yield a client of REDIS_URL, and the settings; raises SettingsError if one of `require` is not set."""
    settings = load(require=require)
    redis = connect(settings.redis)
    try:
        yield redis, settings
    finally:
        await redis.aclose()
