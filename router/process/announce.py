"""Each process says every few seconds in Redis that it is alive, and what is worth knowing of it, for `status`.

It is one command every INTERVAL seconds, apart from all other work. While Redis is away nothing is said.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import orjson

from router import __version__
from router.streams.client.connection import RedisError
from router.streams.store.announcements import announce, leave

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router.core.keys import Keys
    from router.streams.client.connection import Redis

#: Seconds between two announcements.
INTERVAL: Final = 5.0
#: Seconds for the farewell of a process that ends.
FAREWELL: Final = 0.2


class Announcer:
    """Announces this process as one of a `kind`: web, worker, console, or the group of a consumer.

    `facts` returns what changes: texts and numbers, no private values. `has_left` returns whether they are still to be
    known after this process has ended in order.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        *,
        kind: str,
        facts: Callable[[], Mapping[str, Any]] = dict,
        has_left: Callable[[], bool] = bool,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._facts = facts
        self._has_left = has_left
        host, pid, started_at = socket.gethostname(), os.getpid(), time.time_ns() // 1000
        self._constant = {"kind": kind, "host": host, "pid": pid, "version": __version__, "started_at": started_at}
        self.name = f"{kind}/{host}-{pid}-{started_at // 1000:x}"

    async def run(self) -> None:
        """Announce until canceled, then say farewell."""
        try:
            while True:
                with suppress(RedisError, OSError):
                    await announce(self._redis, self._keys, self.name, self._record())
                await asyncio.sleep(INTERVAL)
        finally:
            with suppress(RedisError, OSError):  # a TimeoutError is an OSError
                async with asyncio.timeout(FAREWELL):
                    record = self._record(has_ended=True) if self._has_left() else b""
                    await leave(self._redis, self._keys, self.name, record)

    def _record(self, **more: bool) -> bytes:
        return orjson.dumps(self._constant | more | {"facts": dict(self._facts())}, default=str)
