"""Consumer groups and consumers: groups start at 0, consumer names are never reused, heartbeats show who is alive.

FastStream creates a group at `$`, which skips entries from before the first start. So groups are created here first, at
0 (tests/redis/test_framework_facts.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from itertools import count
from typing import TYPE_CHECKING, Final, Self

from redis.exceptions import ResponseError

from router.logs import log
from router.streams.client.connection import Redis, RedisError, split_by_server
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NUMBERS: Final = count(1)


def name_consumer() -> str:
    """Make a unique name of host, process, time and a number, so that no process is taken for a dead predecessor."""
    return f"{socket.gethostname()}-{os.getpid()}-{time.time_ns() // 1_000_000:x}-{next(_NUMBERS)}"


async def ensure_group(redis: Redis, stream: str, group: str) -> bool:
    """Create the group at 0, and its stream if missing; returns False if the group existed."""
    try:
        await redis.xgroup_create(stream, group, id="0", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
        return False
    return True


class Heartbeat:
    """Keeps a consumer's heartbeat keys alive while it runs; an async context manager.

    The keys expire `ttl` seconds after the last beat, which comes more often than claimers look. Leaving deletes them,
    so that survivors take over at once. Keys on servers of their own beat independently: a server that hangs must not
    make the consumer look dead on the others.
    """

    def __init__(self, redis: Redis, keys: Iterable[str], *, ttl: float) -> None:
        self._redis = redis
        self._keys = list(keys)
        self._ttl = ttl
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Beat once before anything is read, so that no entry belongs to a consumer that looks dead."""
        await self.beat()
        parts = split_by_server(self._redis, self._keys)
        self._tasks = [asyncio.create_task(self._run(part), name="heartbeat") for part in parts]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop beating and delete the keys."""
        await end(*self._tasks)
        pipeline = self._redis.pipeline(transaction=False)  # keys of several partitions may lie on several servers
        for key in self._keys:
            pipeline.delete(key)
        with contextlib.suppress(RedisError, OSError):
            await pipeline.execute()

    async def beat(self, keys: Sequence[str] | None = None) -> None:
        """Renew all keys, or these.

        An existing key only gets a later expiry, which needs no memory: Redis at its memory limit refuses SET, and live
        consumers would look dead to each other.
        """
        keys = self._keys if keys is None else keys
        ttl = int(self._ttl * 1000)
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.pexpire(key, ttl)
        renewed = await pipeline.execute()
        if all(renewed):
            return
        for key, is_renewed in zip(keys, renewed, strict=True):
            if not is_renewed:
                pipeline.set(key, "1", px=ttl)
        await pipeline.execute()

    async def _run(self, part: Sequence[str]) -> None:
        logged = ""
        while True:
            await asyncio.sleep(self._ttl / 6)
            try:
                await self.beat(part)
            except (RedisError, OSError) as error:
                reason = f"{type(error).__name__}: {error}"
                if reason != logged:  # once per outage, not once per beat
                    log("heartbeat.failed", level="warning", error=reason)
                logged = reason
            else:
                logged = ""
