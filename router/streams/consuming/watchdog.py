"""Keeps the reading of a consumer going through what happens to Redis.

FastStream's subscriber stops in silence when its group is gone, and on an answer such as READONLY it begins anew
without a pause (tests/redis/test_framework_facts.py). Whatever ended the reading, the watchdog notices it within LOOK
seconds, stops that reader for good and begins with a new one:
- the group, its stream or all of Redis is gone: they are created, the group at 0, and what comes is read;
- Redis refuses (READONLY after a failover, LOADING, no connection): the same is tried again, in pauses that grow, and
  after READONLY on new connections, which is how a new primary behind the same name is found;
- another type is at the stream's key: nobody can heal that safely. It says so, and `failed` returns: the process ends.

A group that begins at 0 again gets all that its stream still holds once more; that an effect happens once is the
business of whoever has it. Known gap: between our creating the group and FastStream's own attempt (at `$`) lie a few
milliseconds, in which a second loss would skip what was appended in them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from redis.exceptions import ReadOnlyError

from router.logs import log
from router.streams.client.connection import Redis, RedisError
from router.streams.consuming.groups import ensure_group

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from router.streams.consuming.reader import Reader
    from router.streams.delivery import StreamRef

#: Seconds between two looks whether the reader still reads. A look costs nothing; a reader that spins costs a core.
LOOK: Final = 0.1
#: Seconds: the longest pause between two beginnings.
LONGEST_PAUSE: Final = 5.0


class Watchdog:
    """Starts readers made by `make_reader`, one after the other; `pause` is the shortest between two, in seconds."""

    def __init__(
        self,
        redis: Redis,
        streams: Sequence[StreamRef],
        *,
        group: str,
        consumer: str,
        pause: float,
        make_reader: Callable[[], Reader],
    ) -> None:
        self._redis = redis
        self._streams = streams
        self._group = group
        self._consumer = consumer
        self._pause = pause
        self._make_reader = make_reader
        self._reader: Reader | None = None
        self._has_failed = asyncio.Event()

    async def start(self) -> None:
        """Create what is missing and begin to read; raises RedisError or OSError."""
        for stream in self._streams:
            if await ensure_group(self._redis, stream.key, self._group):
                log("group.created", stream=stream.key, group=self._group)
        await self.stop()  # one that has not come up, if there is one
        self._reader = self._make_reader()
        await self._reader.start()
        for stream in self._streams:
            # Redis 7.0 would list us only once something was delivered; who waits for us looks there.
            await self._redis.xgroup_createconsumer(stream.key, self._group, self._consumer)

    async def stop(self) -> None:
        """Stop reading; a batch that is being taken is waited for."""
        if self._reader is not None:
            await self._reader.stop()

    async def failed(self) -> None:
        """Return once reading has ended for good."""
        await self._has_failed.wait()

    async def run(self) -> None:
        """Look for ever, or until reading has ended for good."""
        while not self._has_failed.is_set():
            await asyncio.sleep(LOOK)
            if self._reader is not None and not self._reader.is_running:
                log("reading.lost", level="error", group=self._group)
                await self.stop()
                await self._begin_again()

    async def _begin_again(self) -> None:
        """Return once it reads again, or never will; says why it waits, once for each reason."""
        pause, told = self._pause, ""
        while True:
            try:
                await self.start()
            except (RedisError, OSError) as error:
                reason = f"{type(error).__name__}: {error}"
                if "WRONGTYPE" in reason:
                    log("reading.failed", level="error", group=self._group, reason=reason)
                    self._has_failed.set()
                    return
                if reason != told:
                    log("reading.waiting", level="warning", group=self._group, reason=reason)
                told = reason
                if isinstance(error, ReadOnlyError):
                    # The primary is elsewhere by now. A command that just takes one of these fails as it would anyway.
                    await self._redis.connection_pool.disconnect(inuse_connections=False)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                log("reading.resumed", group=self._group)
                return
