"""What every process needs: a fast event loop, and to notice that it shall stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from typing import TYPE_CHECKING, Any, Final

from router.settings.environment import supervisor_pid

if TYPE_CHECKING:
    from collections.abc import Coroutine


#: Seconds between two looks whether the supervisor lives.
ORPHAN_CHECK: Final = 1.0
#: Objects made since the last look of the garbage collector that make it look again: a few megabytes.
YOUNG: Final = 50_000


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run a process' main coroutine on uvloop where there is one; returns its exit status."""
    try:
        import uvloop  # noqa: PLC0415 - not there on every platform
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def settle_heap() -> None:
    """Take all that the start has made out of the garbage collector's sight; called before a process says it is up.

    It lives as long as the process. A full collection would look through it every time: 40 ms and more, in which no
    webhook is answered. What is made from here on is collected as ever, only less often: what a few dozen events in
    flight hold is more than the collector's usual 700 objects, so it looked at them over and over (5 % of the time).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])


async def until_stopped() -> None:
    """Return at SIGTERM or SIGINT, or when the supervisor has died; signals are ignored while the process winds up."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    supervisor = supervisor_pid()
    while not stopped.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), None if supervisor is None else ORPHAN_CHECK)
        if supervisor is not None and os.getppid() != supervisor:
            return  # nobody is left to stop us, or to start us again


async def until_stopped_or(lost: Coroutine[Any, Any, None]) -> bool:
    """Return True at SIGTERM or SIGINT, False if `lost` returns first: what the process lives on is gone."""
    stopped = asyncio.create_task(until_stopped())
    losing = asyncio.create_task(lost)
    await asyncio.wait({stopped, losing}, return_when=asyncio.FIRST_COMPLETED)
    is_stopped = stopped.done()
    for task in (stopped, losing):
        task.cancel()
    return is_stopped
