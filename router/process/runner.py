"""The run of a stream consumer as a process, for the worker and for every handler.

Start, log lines, metrics port, stop and exit status are the same for all of them. A Redis that does not answer at the
start is waited for; one that refuses for a reason that does not pass ends the process with one line.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from router import metrics
from router.core.backoff import backoff
from router.logs import describe_fully, log
from router.process.loop import Stop, fail, settle_heap
from router.process.metrics_port import metrics_port
from router.streams.client.connection import RedisError
from router.streams.client.error_replies import passes
from router.tasks import PATIENCE, end

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractAsyncContextManager
    from typing import Any

    from router.settings.model import Settings
    from router.streams.consuming.consumer import StreamConsumer

    Consuming = Callable[[], AbstractAsyncContextManager[StreamConsumer]]

#: Seconds between two attempts to start: at first, and at most.
FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 5.0
#: Seconds for a start that was cut off to leave the group again.
LEAVING: Final = 0.5


async def run_consumer(
    consuming: Consuming,
    settings: Settings,
    *,
    moved: Callable[[], Coroutine[Any, Any, None]] | None = None,
    **details: str,
) -> int | None:
    """Consume until SIGTERM or SIGINT; entries in flight are finished or handed back, then returns 0.

    If `moved` returns first, returns None after the same orderly end: the partitions are being moved.
    Returns 1 if Redis refuses during the start, if the metrics port is in use, or if the consumer fails: then something
    needs operator action, or a new process. `details` are further fields of the line `process.started`.
    """
    stop = Stop(settings.grace)  # before the consumer has a name in its group
    watched = _Watched()
    failure = None
    try:
        async with AsyncExitStack() as stack:
            stack.enter_context(metrics_port(settings, watched.find_problem))
            watched.consumer = consumer = await stop.or_end_of(_start(stack, consuming), patience=LEAVING)
            if consumer is not None:
                settle_heap()
                log("process.started", consumer=consumer.name, **details, settings=settings.masked())
                failure = await stop.or_end_of(_failed_or_moved(consumer, moved), patience=PATIENCE)
    except RedisError as error:
        return fail(f"Redis: {describe_fully(error)}")
    except OSError as error:
        return fail(describe_fully(error))
    if failure:
        return fail(failure)
    if failure is not None and not stop.is_requested:
        return None
    log("process.stopped")
    return 0


async def _failed_or_moved(consumer: StreamConsumer, moved: Callable[[], Coroutine[Any, Any, None]] | None) -> str:
    """Return why the consumer has failed; empty if the partitions are being moved."""
    if moved is None:
        return await consumer.failed()
    failing, moving = asyncio.create_task(consumer.failed()), asyncio.create_task(moved())
    try:
        await asyncio.wait({failing, moving}, return_when=asyncio.FIRST_COMPLETED)
        return failing.result() if failing.done() else ""
    finally:
        await end(failing, moving)


async def _start(stack: AsyncExitStack, consuming: Consuming) -> StreamConsumer:
    """Return the running consumer, which `stack` ends; raises RedisError unless waiting may help."""
    failures, logged = 0, ""
    while True:
        try:
            return await stack.enter_async_context(consuming())
        except (RedisError, OSError) as error:
            if not passes(error):
                raise
            reason = describe_fully(error)
        if reason != logged:
            log("start.waiting", level="warning", reason=reason)
        failures, logged = failures + 1, reason
        await asyncio.sleep(backoff(FIRST_PAUSE, failures - 1, ceiling=LONGEST_PAUSE))


class _Watched:
    """The state of the consumer as the metrics port shows it."""

    consumer: StreamConsumer | None = None

    def find_problem(self) -> str | None:
        """Return why the process does no work now, None if it does; sets the gauge of the heartbeat."""
        if self.consumer is None:
            return "it waits for Redis to start"
        metrics.gauge("router_heartbeat_age_seconds", self.consumer.group, value=self.consumer.liveness.heartbeat_age)
        return self.consumer.liveness.problem
