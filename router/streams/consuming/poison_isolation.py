"""Finding the entry that kills processes, and giving it up, while its neighbors pass.

An exception can be counted by the process that survives it; a death (out of memory, a segmentation fault) only by those
who take over. Redis keeps, in one hash per partition and group, how many processes died with an entry since it last
succeeded; the claim counts in the same step (scripts/take_over.lua), so each death counts once.

The first FREE deaths tell little: all that was in flight is suspected, and a deployment that kills healthy processes
does no more than that. After them an entry is *on trial* whenever it is attempted: alone among its like in this
process, never in a batch (which attempts many at once), and named in Redis while its attempt runs. From then on a
death counts for the entry that is named, and for no other; those with the fewest deaths go first, so innocents are
through before the guilty one has its turn again. At the limit it is a dead letter. Waiting for an API, for a slot or
for the next try is no attempt, and what a consumer hands back when it is told to stop counts no death. Nothing remains
of an entry that is done; what nobody ever finishes is forgotten after MEMORY seconds.

Known gap: an entry on trial shares its process with new ones, which are not named. If one of those kills, both count;
but it is on trial itself after FREE deaths, and nothing becomes a dead letter with fewer than LEAST.
"""

from __future__ import annotations

import asyncio
import contextlib
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from router.streams.client.connection import Redis, RedisError, load_script
from router.streams.delivery import Delivery, Poison

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from router.core.keys import Keys
    from router.streams.delivery import StreamRef, Verdict

#: Deaths that an entry may have been in flight at before it is on trial.
FREE: Final = 2
#: Deaths without which nothing is given up, whatever the limit: more than one new killer beside a trial can cause.
LEAST: Final = 2 * FREE + 1
#: Seconds after the last death for which the deaths are kept.
MEMORY: Final = 24 * 60 * 60


class CrashCounts:
    """What a group knows of the processes that died: one hash per partition."""

    def __init__(self, redis: Redis, keys: Keys, *, group: str, consumer: str) -> None:
        self._redis = redis
        self._keys = keys
        self._group = group
        self._consumer = consumer

    def key(self, stream: StreamRef) -> str:
        """Return the key of the hash."""
        return self._keys.deaths(stream.partition, self._group)

    async def take_over(self, stream: StreamRef, consumer: str, min_idle: int, ids: Sequence[str]) -> list[Delivery]:
        """Claim entries of `consumer` that are idle for `min_idle` ms; its death counts, unless it is ourselves."""
        args = [self._group, self._consumer, consumer, min_idle, FREE, MEMORY, *ids]
        rows: Any = await load_script("take_over").run(self._redis, [stream.key, self.key(stream)], args)
        return [
            Delivery(
                stream,
                entry_id.decode(),
                dict(zip(fields[::2], fields[1::2], strict=True)),
                is_redelivered=True,
                deaths=deaths,
            )
            for entry_id, fields, deaths in rows
        ]

    async def note_trial(self, delivery: Delivery) -> None:
        """Name the entry that is on trial here; raises RedisError, and then it must not be attempted."""
        pipeline = self._redis.pipeline(transaction=True)  # both or neither: nothing may stay without an end
        pipeline.hset(self.key(delivery.stream), f"trial:{self._consumer}", delivery.entry_id)
        pipeline.expire(self.key(delivery.stream), MEMORY)
        await pipeline.execute()

    async def end_trial(self, delivery: Delivery) -> None:
        """Name nothing any more; if Redis does not hear of it, the next trial replaces the name."""
        with contextlib.suppress(RedisError, OSError):
            await self._redis.hdel(self.key(delivery.stream), f"trial:{self._consumer}")

    async def forget(self, delivery: Delivery) -> None:
        """Drop the deaths of an entry that is given up."""
        if delivery.deaths:
            with contextlib.suppress(RedisError, OSError):
                await self._redis.hdel(self.key(delivery.stream), delivery.entry_id)

    async def note_leaving(self, stream: StreamRef) -> None:
        """Say that what we leave behind was handed back: we do not die of it."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hset(self.key(stream), f"left:{self._consumer}", "1")
        pipeline.expire(self.key(stream), MEMORY)
        await pipeline.execute()

    async def forget_consumer(self, stream: StreamRef, consumer: str) -> bool:
        """Remove a consumer from the group, with what is known of it, unless it beats or has entries pending.

        Returns whether it was removed. The deaths of entries stay.
        """
        heartbeat = self._keys.heartbeat(stream.partition, self._group, consumer)
        names = [stream.key, heartbeat, self.key(stream)]
        return bool(await load_script("forget_consumer").run(self._redis, names, [self._group, consumer]))


class PoisonIsolation:
    """Wraps `attempt`: lets what nobody suspects through, and the others one at a time; `limit` deaths are the end."""

    def __init__(
        self,
        deaths: CrashCounts,
        *,
        limit: int,
        attempt: Callable[[Delivery], Awaitable[Verdict]],
        parked: Callable[[Delivery], AbstractAsyncContextManager[None]],
    ) -> None:
        self._deaths = deaths
        self._limit = max(limit, LEAST)
        self._attempt = attempt
        self._parked = parked
        self._turns = PriorityLock()

    async def attempt(self, delivery: Delivery) -> Verdict:
        """Attempt a delivery, on trial if it is suspected; Poison once it has been there at too many deaths."""
        if delivery.deaths < FREE:
            return await self._attempt(delivery)
        if delivery.deaths >= self._limit:
            return Poison(f"it was being worked on when {delivery.deaths} processes died")
        async with self._turn(delivery):
            await self._deaths.note_trial(delivery)
            try:
                return await self._attempt(delivery)
            finally:
                await self._deaths.end_trial(delivery)

    @contextlib.asynccontextmanager
    async def _turn(self, delivery: Delivery) -> AsyncIterator[None]:
        """Wait for this delivery's turn without keeping a slot of the window."""
        has_turn = self._turns.take()
        try:
            if not has_turn:
                async with self._parked(delivery):
                    await self._turns.wait(delivery.deaths)
                    has_turn = True
            yield
        finally:
            if has_turn:
                self._turns.pass_on()


class PriorityLock:
    """One at a time, the lowest rank first, and within a rank who came first. Only for use within one event loop."""

    def __init__(self) -> None:
        self._is_taken = False
        self._numbers = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    def take(self) -> bool:
        """Take the turn if nobody has it."""
        is_free, self._is_taken = not self._is_taken, True
        return is_free

    async def wait(self, rank: int) -> None:
        """Return once it is our turn, which must then be passed on."""
        if self.take():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (rank, next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.pass_on()  # it came in the very moment in which we were canceled
            raise

    def pass_on(self) -> None:
        """Give the turn to who is next."""
        while self._waiting:
            _, _, turn = heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._is_taken = False
