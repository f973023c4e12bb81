"""Reliable task cancellation, and steps of an orderly end that may not take for ever.

In Python 3.11 `asyncio.wait_for`, through which redis-py sends every command, loses a cancellation that arrives at the
moment its awaitable completes (https://github.com/python/cpython/issues/86296). A task that loops then keeps running,
and whoever awaits it waits forever; so a cancellation is repeated until the task has ended.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Coroutine

#: Seconds that a canceled task may take to end before it is canceled again.
PATIENCE: Final = 0.25


async def end(*tasks: asyncio.Task[Any], patience: float = PATIENCE) -> None:
    """Cancel tasks and wait until all have ended; their exceptions are dropped.

    A task that has not ended after `patience` seconds is canceled again.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=patience)
    await asyncio.gather(*tasks, return_exceptions=True)


async def finish(work: Coroutine[Any, Any, Any], seconds: float) -> bool:
    """Run a step of an orderly end, and cut it off after `seconds`; returns whether it ended by itself.

    An exception that it raises by itself is raised here, and one that it raises because it was cut off is dropped.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task], timeout=max(0.0, seconds))
        if task.done():
            task.result()
            return True
        return False
    finally:
        await end(task)


def is_canceled() -> bool:
    """Return whether the current task is to end; False if only something that it awaited was canceled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
