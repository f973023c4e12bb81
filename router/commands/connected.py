"""The connection that commands work with: settings and Redis, closed again at the end."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from router.core.sealing import SealedError
from router.logs import describe_fully
from router.process.terminal import CommandFailedError
from router.settings.environment import is_borrowed
from router.settings.load import load
from router.streams.client.connection import RedisError, connect
from router.streams.store.partitions import ensure_partitions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from router.settings.model import Settings
    from router.streams.client.connection import Redis


class RedisFailedError(CommandFailedError):
    """Redis does not answer, or refuses."""

    def __init__(self, url: str, cause: Exception) -> None:
        hint = "; is `make run` running?" if is_borrowed() else ""
        super().__init__(f"no response from Redis (REDIS_URL={url}): {describe_fully(cause).removesuffix('.')}{hint}")


@asynccontextmanager
async def connected(require: Iterable[str] = ("redis_url",)) -> AsyncIterator[tuple[Redis, Settings]]:
    """Yield a client of REDIS_URL, and the settings.

    Raises SettingsError if one of `require` is not set, or if Redis has another number of partitions, and
    CommandFailedError if Redis does not answer or refuses, also within the block, or if a key of ROUTER_SEAL_KEYS is
    missing.
    """
    settings = load(require=require)
    redis = connect(settings.redis)
    try:
        await ensure_partitions(redis, settings.keys)
        yield redis, settings
    except SealedError as error:
        raise CommandFailedError(str(error)) from error
    except (RedisError, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # about a file of ours
        url = settings.masked()["REDIS_URL"]
        raise RedisFailedError(url, error) from error
    finally:
        await redis.aclose()
