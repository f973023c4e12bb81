"""Consumer groups and consumers: groups begin at 0, a consumer's name is never used twice, heartbeats say who lives.

A framework that creates a group does so at `$`, which skips what was there before the first start; ours are created
first, at 0 (tests/redis/test_framework_facts.py).
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
from router.streams.client.cluster import ClusterClient
from router.streams.client.connection import Redis, RedisError
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NUMBERS: Final = count(1)


def name_consumer() -> str:
    """Return host, process, start and a number: unique, so that no process ever looks like its dead predecessor."""
    return f"{socket.gethostname()}-{os.getpid()}-{time.time_ns() // 1_000_000:x}-{next(_NUMBERS)}"


async def ensure_group(redis: Redis, stream: str, group: str) -> bool:
    """Create the group at 0, and the stream if need be; returns False if it was there."""
    try:
        await redis.xgroup_create(stream, group, id="0", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
        return False
    return True


class Heartbeat:
    """Keeps a consumer's heartbeat keys alive while it runs; an async context manager.

    The keys expire `ttl` seconds after the last beat, and it beats more often than claimers look. Leaving deletes
    them, so that survivors take over at once. In a Cluster each key has a beat of its own: a node that hangs must not
    make us look dead on the others.
    """

    def __init__(self, redis: Redis, keys: Iterable[str], *, ttl: float) -> None:
        self._redis = redis
        self._keys = list(keys)
        self._ttl = ttl
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Beat once before anything is read, so that no entry ever belongs to a consumer that looks dead."""
        await self.beat()
        parts = [[key] for key in self._keys] if isinstance(self._redis, ClusterClient) else [self._keys]
        self._tasks = [asyncio.create_task(self._run(part), name="heartbeat") for part in parts]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop beating and say so."""
        await end(*self._tasks)
        pipeline = self._redis.pipeline(transaction=False)  # the keys of several partitions may lie on several servers
        for key in self._keys:
            pipeline.delete(key)
        with contextlib.suppress(RedisError, OSError):
            await pipeline.execute()

    async def beat(self, keys: Sequence[str] | None = None) -> None:
        """Renew all keys, or these.

        A key that is there only gets a later end, which needs no memory: a Redis that is full refuses SET, and the
        living would look dead to each other.
        """
        keys = self._keys if keys is None else keys
        ttl = int(self._ttl * 1000)
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.pexpire(key, ttl)
        is_there = await pipeline.execute()
        if all(is_there):
            return
        for key, renewed in zip(keys, is_there, strict=True):
            if not renewed:
                pipeline.set(key, "1", px=ttl)
        await pipeline.execute()

    async def _run(self, part: Sequence[str]) -> None:
        told = ""
        while True:
            await asyncio.sleep(self._ttl / 6)
            try:
                await self.beat(part)
            except (RedisError, OSError) as error:
                reason = f"{type(error).__name__}: {error}"
                if reason != told:  # an outage is a few lines, not one for each beat
                    log("heartbeat.failed", level="warning", error=reason)
                told = reason
            else:
                told = ""
