"""Restarts a reader that has stopped, whatever the reason.

FastStream's subscriber stops silently when its group is gone, and restarts without a pause on a reply such as READONLY
(tests/redis/test_framework_facts.py). The watchdog notices either within INTERVAL seconds, stops that reader for good
and starts a new one:
- The group, its stream or all data is gone: both are created, and reading goes on (router.streams.consuming.groups).
- Redis refuses (READONLY after a failover, LOADING, no connection): it retries with growing pauses, after READONLY on
  new connections, which is how a new primary behind the same name is found.
- A key of another type is in the stream's place: that needs operator action. It is logged, `failed` returns and the
  process ends.

Known gap: between creating the group here and FastStream's own attempt (at `$`) lie a few milliseconds, in
which a second loss would skip what was appended meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from redis.exceptions import ReadOnlyError

from router.core.backoff import backoff
from router.logs import describe, describe_fully, log
from router.streams.client.connection import Redis, RedisError
from router.streams.consuming.groups import Start, ensure_group

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from router.streams.consuming.reader import Reader
    from router.streams.delivery import StreamRef

#: Seconds between two checks that the reader runs. A check costs nothing; a reader that spins costs a core.
INTERVAL: Final = 0.1
#: Seconds: the longest pause between two restarts.
LONGEST_PAUSE: Final = 5.0


class Watchdog:
    """Starts readers made by `make_reader`, one at a time; `pause` is the shortest between two restarts, in seconds.

    `start` is where new groups begin. One that is lost later, with its note, begins with the oldest entry in any case.
    """

    def __init__(
        self,
        redis: Redis,
        streams: Sequence[StreamRef],
        *,
        group: str,
        consumer: str,
        pause: float,
        make_reader: Callable[[], Reader],
        start: Start = Start.OLDEST,
    ) -> None:
        self._redis = redis
        self._streams = streams
        self._group = group
        self._consumer = consumer
        self._pause = pause
        self._make_reader = make_reader
        self._start = start
        self._reader: Reader | None = None
        self._has_failed = asyncio.Event()

    async def start(self) -> None:
        """Create missing groups and begin to read; raises RedisError or OSError."""
        for stream in self._streams:
            if await ensure_group(self._redis, stream.key, self._group, start=self._start):
                log("group.created", stream=stream.key, group=self._group)
        self._start = Start.OLDEST
        await self.stop()  # a reader whose start failed
        self._reader = self._make_reader()
        await self._reader.start()
        for stream in self._streams:
            # Redis 7.0 would list the consumer only after its first delivery; callers look for it in that list.
            await self._redis.xgroup_createconsumer(stream.key, self._group, self._consumer)

    async def stop(self) -> None:
        """Stop reading, after the batch that is being taken; a connection that cannot be closed is given up."""
        if self._reader is not None:
            try:
                await self._reader.stop()
            except Exception as error:  # noqa: BLE001 - a new reader must be able to take its place
                log("redis.failed", level="warning", error=describe(error))

    async def failed(self) -> None:
        """Return once reading has failed for good."""
        await self._has_failed.wait()

    async def run(self) -> None:
        """Watch the reader until reading has failed for good."""
        while not self._has_failed.is_set():
            await asyncio.sleep(INTERVAL)
            if self._reader is not None and not self._reader.is_running:
                log("reading.lost", level="error", group=self._group)
                await self.stop()
                await self._restart()

    async def _restart(self) -> None:
        """Return once it reads again or has failed for good; each reason for waiting is logged once."""
        pause, logged = self._pause, ""
        while True:
            try:
                await self.start()
            except Exception as error:  # noqa: BLE001 - whatever it is, a consumer that does not read must try to
                is_usual = isinstance(error, RedisError | OSError)
                reason = describe_fully(error) if is_usual else describe(error)
                if "WRONGTYPE" in reason:
                    log("reading.failed", level="error", group=self._group, reason=reason)
                    self._has_failed.set()
                    return
                if reason != logged:
                    log("reading.waiting", level="warning", group=self._group, reason=reason)
                logged = reason
                if isinstance(error, ReadOnlyError):
                    # The primary is elsewhere now. A command that takes such a connection at this moment fails anyway.
                    await self._redis.connection_pool.disconnect(inuse_connections=False)
                await asyncio.sleep(pause)
                pause = backoff(pause, 1, ceiling=LONGEST_PAUSE)
            else:
                log("reading.resumed", group=self._group)
                return
