"""Waiting for something to become true: the one place where tests poll, and the one measure of how slow a machine is.

A deadline in a test is a safety net for a hang, never a claim about speed: it is written for a quiet machine and
multiplied by the slowness factor of this run. The factor is measured once, and again whenever a deadline has passed; if
the machine has become slower since, the wait goes on.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from contextlib import asynccontextmanager
from statistics import median
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

#: Rounds of a fixed computation, and the seconds that they take on a quiet core of a usual machine.
ROUNDS: Final = 400_000
REFERENCE: Final = 0.032

#: Seconds between two questions at most, however long an answer takes.
LONGEST_PAUSE: Final = 0.5

_measured: list[float] = []


def measure_slowness() -> float:
    """Measure how many times slower than the reference this process runs now; returns the largest result so far.

    One measurement is the median of three, so that a short stall does not count.
    """
    _measured.append(median(_compute() for _ in range(3)) / REFERENCE)
    return slowness()


def _compute() -> float:
    started = time.perf_counter()
    value = 0
    for number in range(ROUNDS):
        value ^= number * number
    return time.perf_counter() - started


def slowness() -> float:
    """Return the factor by which deadlines are multiplied, 1.0 or more."""
    return max(1.0, *_measured) if _measured else measure_slowness()


def scaled(seconds: float) -> float:
    """Return a duration that was chosen for a quiet machine, adapted to this one."""
    return seconds * slowness()


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """Bound a block as `asyncio.timeout` does, by scaled seconds; TimeoutError once they have passed."""
    loop = asyncio.get_running_loop()
    started = loop.time()

    def check() -> None:
        nonlocal timer
        measure_slowness()
        end = started + scaled(seconds)
        if loop.time() < end:
            timer = loop.call_at(end, check)
        else:
            limit.reschedule(loop.time())

    async with asyncio.timeout(None) as limit:
        timer = loop.call_at(started + scaled(seconds), check)
        try:
            yield
        finally:
            timer.cancel()


async def until(
    predicate: Callable[[], Any],
    timeout: float = 30.0,  # noqa: ASYNC109 # a limit, not a wait
    *,
    pause: float = 0.01,
) -> Any:
    """Return the first true answer of `predicate` (sync or async); TimeoutError after `timeout` scaled seconds.

    One that takes long is asked less often, so that waiting leaves the machine to what is waited for.
    """
    async with deadline(timeout):
        while True:
            asked = time.perf_counter()
            answer = predicate()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return answer
            await asyncio.sleep(max(pause, min(2 * (time.perf_counter() - asked), LONGEST_PAUSE)))


async def let_tasks_run() -> None:
    """Let every task run as far as it can without I/O or a timer, to show that something does not happen."""
    for _ in range(20):
        await asyncio.sleep(0)
