"""The connection that commands work with: settings and Redis, closed again at the end."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from router.settings.load import load
from router.streams.client.connection import connect
from router.streams.store.partitions import ensure_partitions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from router.settings.model import Settings
    from router.streams.client.connection import Redis


@asynccontextmanager
async def connected(require: Iterable[str] = ("redis_url",)) -> AsyncIterator[tuple[Redis, Settings]]:
    """Yield a client of REDIS_URL, and the settings.

    Raises SettingsError if one of `require` is not set, or if Redis has another number of partitions.
    """
    settings = load(require=require)
    redis = connect(settings.redis)
    try:
        await ensure_partitions(redis, settings.keys)
        yield redis, settings
    finally:
        await redis.aclose()
