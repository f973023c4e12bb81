"""Connections to Redis, and scripts that survive a server that has forgotten them."""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from router.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds. A stalled server is noticed, and the caller decides; the client never repeats a command by itself.
SOCKET_TIMEOUT: Final = 5.0
CONNECT_TIMEOUT: Final = 3.0
#: Connections of one client at most. Further commands wait for one; the client's usual pool would refuse them, and a
#: full window of attempts may well acknowledge at the same moment.
MAX_CONNECTIONS: Final = 50

__all__ = ["Redis", "RedisError", "Script", "connect", "ensure_answering", "load_script", "run_all"]


def connect(url: str, *, timeout: float = SOCKET_TIMEOUT) -> Redis:
    """Return a client for `url` (raw bytes in and out); it connects at first use. `timeout` is in seconds."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=timeout,
        socket_timeout=timeout,
        socket_connect_timeout=CONNECT_TIMEOUT,
        socket_keepalive=True,
        health_check_interval=30,
        retry=Retry(NoBackoff(), 0),
        # With them (on by default where RESP3 is spoken) the pool hands out connections that died while idle.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    return Redis.from_pool(pool)


async def ensure_answering(redis: Redis) -> None:
    """Return if the server answers; raises SettingsError that names the variable and the reason if not."""
    try:
        await redis.ping()
    except (RedisError, OSError) as error:
        raise SettingsError([f"REDIS_URL: {type(error).__name__}: {error}"]) from error


class Script:
    """A Lua script: its text, and the hash that Redis knows it by."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, redis: Redis, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run it once; loads it where the server does not have it (restarted, failed over, flushed)."""
        try:
            return await redis.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await redis.eval(self.text, len(keys), *keys, *args)


@cache
def load_script(name: str) -> Script:
    """Return the script `scripts/<name>.lua`."""
    return Script(files("router.streams").joinpath("scripts", f"{name}.lua").read_text(encoding="utf-8"))


async def run_all(redis: Redis, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
    """Run one script for many (keys, args) in one pipeline; returns a result or an exception for each.

    Raises RedisError if the pipeline itself gets no answer: then any of them may have run.
    """
    results = await _run_all(redis, script, calls)
    forgotten = [index for index, result in enumerate(results) if isinstance(result, NoScriptError)]
    if forgotten:
        await redis.script_load(script.text)
        again = await _run_all(redis, script, [calls[index] for index in forgotten])
        for index, result in zip(forgotten, again, strict=True):
            results[index] = result
    return results


async def _run_all(redis: Redis, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
    pipeline = redis.pipeline(transaction=False)
    for keys, args in calls:
        pipeline.evalsha(script.sha, len(keys), *keys, *args)
    return await pipeline.execute(raise_on_error=False)
