"""Finds the entry that crashes processes and gives it up, while its neighbors pass.

An exception is counted by the process that survives it; a crash (out of memory, a segmentation fault) only by the
processes that take over. For each partition and group one Redis hash holds how many processes died with an entry in
flight since it last succeeded. The claim counts in the same step (scripts/take_over.lua), so each crash counts once.

The first SUSPECT_AFTER crashes say little: every entry in flight is counted, and a deployment that kills healthy
processes causes no more than that. From then on an entry is a *suspect*, and its attempts are *isolated*: one suspect
at a time in a process, never in a batch (which attempts many at once), and named in Redis while the attempt runs. A
crash then counts for the named entry only. Suspects with the fewest crashes go first, so unaffected entries run before
the cause is attempted again. At the limit an entry becomes a dead letter.

Waiting for an API, for a slot or for the next try is not an attempt, and entries handed back by a consumer that was
told to stop count no crash. Counts of an entry are removed once it is done; the rest expire after COUNTS_LIFE seconds.

Known gap: an isolated entry shares its process with new entries, which are not named. If one of those crashes it, both
count; but it becomes a suspect itself, and nothing becomes a dead letter with fewer than LEAST_CRASHES.
"""

from __future__ import annotations

import asyncio
import contextlib
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from router.core.keys import progress
from router.streams.client.connection import Redis, RedisError, load_script
from router.streams.delivery import Delivery, Poison

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from router.core.keys import Keys
    from router.streams.delivery import StreamRef, Verdict

#: Crashes after which an entry is a suspect.
SUSPECT_AFTER: Final = 2
#: Crashes below which nothing is given up, whatever the limit: more than one new cause beside a suspect can add up to.
LEAST_CRASHES: Final = 2 * SUSPECT_AFTER + 1
#: Seconds for which counts are kept after the last crash.
COUNTS_LIFE: Final = 24 * 60 * 60


class CrashCounts:
    """The crashes that a group has counted, and the consumers that isolate an entry or have left."""

    def __init__(self, redis: Redis, keys: Keys, *, group: str, consumer: str) -> None:
        self._redis = redis
        self._keys = keys
        self._group = group
        self._consumer = consumer

    def key(self, stream: StreamRef) -> str:
        """Return the key of the hash."""
        return self._keys.deaths(stream.partition, self._group)

    async def take_over(self, stream: StreamRef, consumer: str, min_idle: int, ids: Sequence[str]) -> list[Delivery]:
        """Claim entries of `consumer` that are idle for `min_idle` ms; counts its crash, unless it is this consumer."""
        args = [self._group, self._consumer, consumer, min_idle, SUSPECT_AFTER, COUNTS_LIFE, *ids]
        rows: Any = await load_script("take_over").run(self._redis, [stream.key, self.key(stream)], args)
        return [
            Delivery(
                stream,
                entry_id.decode(),
                dict(zip(fields[::2], fields[1::2], strict=True)),
                is_redelivered=True,
                crashes=crashes,
            )
            for entry_id, fields, crashes in rows
        ]

    async def begin_isolation(self, delivery: Delivery) -> None:
        """Name the entry that is isolated here; if this raises RedisError the entry must not be attempted."""
        pipeline = self._redis.pipeline(transaction=True)  # both or neither: no field may stay without an expiry
        pipeline.hset(self.key(delivery.stream), f"trial:{self._consumer}", delivery.entry_id)
        pipeline.expire(self.key(delivery.stream), COUNTS_LIFE)
        await pipeline.execute()

    async def end_isolation(self, delivery: Delivery) -> None:
        """Remove the name; if Redis does not answer, the next isolated entry replaces it."""
        with contextlib.suppress(RedisError, OSError):
            await self._redis.hdel(self.key(delivery.stream), f"trial:{self._consumer}")

    async def forget(self, delivery: Delivery) -> None:
        """Drop the count of an entry that was given up."""
        if delivery.crashes:
            with contextlib.suppress(RedisError, OSError):
                await self._redis.hdel(self.key(delivery.stream), delivery.entry_id)

    async def note_leaving(self, stream: StreamRef) -> None:
        """Note that the entries this consumer leaves pending are handed back: its end is not a crash."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hset(self.key(stream), f"left:{self._consumer}", "1")
        pipeline.expire(self.key(stream), COUNTS_LIFE)
        await pipeline.execute()

    async def forget_consumer(self, stream: StreamRef, consumer: str) -> bool:
        """Remove a consumer from the group, with its notes here, unless it beats or has entries pending.

        Returns whether it was removed. The counts of entries stay.
        """
        heartbeat = self._keys.heartbeat(stream.partition, self._group, consumer)
        names = [stream.key, heartbeat, self.key(stream), progress(stream.key, self._group)]
        return bool(await load_script("forget_consumer").run(self._redis, names, [self._group, consumer]))


class PoisonIsolation:
    """Wraps `attempt`: suspects run one at a time, others unhindered; at `limit` crashes an entry is poison.

    `paused(delivery)` gives up the entry's slot in the window while the block runs.
    """

    def __init__(
        self,
        crashes: CrashCounts,
        *,
        limit: int,
        attempt: Callable[[Delivery], Awaitable[Verdict]],
        paused: Callable[[Delivery], AbstractAsyncContextManager[None]],
    ) -> None:
        self._crashes = crashes
        self._limit = max(limit, LEAST_CRASHES)
        self._attempt = attempt
        self._paused = paused
        self._lock = PriorityLock()

    async def attempt(self, delivery: Delivery) -> Verdict:
        """Attempt a delivery, isolated if it is a suspect; returns Poison once it has reached the limit."""
        if delivery.crashes < SUSPECT_AFTER:
            return await self._attempt(delivery)
        if delivery.crashes >= self._limit:
            return Poison(f"it was being worked on when {delivery.crashes} processes died")
        async with self._isolated(delivery):
            await self._crashes.begin_isolation(delivery)
            try:
                return await self._attempt(delivery)
            finally:
                await self._crashes.end_isolation(delivery)

    @contextlib.asynccontextmanager
    async def _isolated(self, delivery: Delivery) -> AsyncIterator[None]:
        """Hold the lock, waiting for it without a slot of the window."""
        is_held = self._lock.try_acquire()
        try:
            if not is_held:
                async with self._paused(delivery):
                    await self._lock.acquire(delivery.crashes)
                    is_held = True
            yield
        finally:
            if is_held:
                self._lock.release()


class PriorityLock:
    """A lock that goes to the lowest rank first, within a rank in order of arrival. For use within one event loop."""

    def __init__(self) -> None:
        self._is_taken = False
        self._numbers = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    def try_acquire(self) -> bool:
        """Take the lock if it is free; returns whether it was."""
        is_free, self._is_taken = not self._is_taken, True
        return is_free

    async def acquire(self, rank: int) -> None:
        """Return once the lock is held."""
        if self.try_acquire():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (rank, next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # the lock arrived together with the cancellation
            raise

    def release(self) -> None:
        """Pass the lock to the next waiter."""
        while self._waiting:
            _, _, turn = heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._is_taken = False
