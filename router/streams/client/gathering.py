"""Commands of many tasks in one pipeline: whatever gathers while others are under way goes with the next.

A round trip of its own costs an asyncio task 80 to 100 µs of CPU, most of it for taking and giving back a connection;
a command that goes with others costs 10 to 15. A lone command waits for nobody. Not for what blocks in the server
(BLOCK, WAIT), since others would wait with it, and not for heartbeats. Transactions, and the commands of a Cluster,
whose nodes must not wait for each other, go by themselves.
"""

from __future__ import annotations

import asyncio
from copy import copy
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from router.streams.client.cluster import ClusterClient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Command = tuple[tuple[Any, ...], Mapping[str, Any]]
    #: What callers ask for, and the future of each.
    Batch = list[tuple[Sequence[Command], asyncio.Future[list[Any]]]]

#: Pipelines under way at once: where one connection hangs, another one is left.
PIPELINES: Final = 2
#: Commands of one pipeline at most, or one caller's; a bound on how long one of them can take.
MOST: Final = 256


def gathering(redis: Redis) -> Redis:
    """Return a client over the connections of `redis`, which is to be closed by its owner, that gathers commands."""
    return redis if isinstance(redis, ClusterClient) else _GatheringClient(redis)


class _GatheringClient(Redis):
    def __init__(self, redis: Redis) -> None:
        super().__init__(connection_pool=redis.connection_pool)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: Batch = []
        self._flushers: set[asyncio.Task[None]] = set()
        self._under_way = 0

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command with those of others."""
        (result,) = await self.run([(args, options)])
        if isinstance(result, Exception):
            raise result
        return result

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:  # noqa: FBT001, FBT002 - the library's
        """Return a pipeline that is sent with the commands of others, unless it is a transaction."""
        if transaction:
            return super().pipeline(transaction, shard_hint)
        return _GatheredPipeline(self)

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Return a result or an exception for each command, sent in this order; raises if there is no answer at all."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()  # a system call: once, and not for each command
        done: asyncio.Future[list[Any]] = self._loop.create_future()
        self._waiting.append((commands, done))
        if self._under_way < PIPELINES:
            self._under_way += 1
            flusher = asyncio.create_task(self._flush(), name="gathered commands")
            self._flushers.add(flusher)
            flusher.add_done_callback(self._flushers.discard)
        return await done

    async def _flush(self) -> None:
        """Send what waits, pipeline by pipeline, and answer every caller whatever happens."""
        try:
            while self._waiting:
                await self._send(self._take())
        finally:
            self._under_way -= 1  # in the same breath as the last look: who comes from here on begins another one

    async def _send(self, batch: Batch) -> None:
        pipeline = Redis.pipeline(self, transaction=False)
        for commands, _ in batch:
            pipeline.command_stack += commands
        results: list[Any] | None = None
        problem: Exception = ConnectionAbortedError("it was cut off")
        try:
            results = await pipeline.execute(raise_on_error=False)
        except Exception as error:  # noqa: BLE001 - it is the callers' own: each of them gets it
            problem = error
        finally:
            _answer(batch, results, problem)

    def _take(self) -> Batch:
        count, size = 0, 0
        while count < len(self._waiting) and (not count or size + len(self._waiting[count][0]) <= MOST):
            size += len(self._waiting[count][0])
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch


def _answer(batch: Batch, results: list[Any] | None, problem: Exception) -> None:
    at = 0
    for commands, done in batch:
        end = at + len(commands)
        if not done.done():  # else its caller has gone away
            if results is None:
                done.set_exception(copy(problem))  # one for each: whoever raises it adds its own traceback
            else:
                done.set_result(results[at:end])
        at = end


class _GatheredPipeline(Pipeline):
    """Commands that stay together in a pipeline with those of others."""

    def __init__(self, client: _GatheringClient) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, False, None)
        self._client = client

    async def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002 - the library's
        """Send all that was queued; returns the results in order, or raises the first error if it shall."""
        stack, self.command_stack = self.command_stack, []
        results = await self._client.run(stack) if stack else []
        if raise_on_error:
            for result in results:
                if isinstance(result, Exception):
                    raise result
        return results
