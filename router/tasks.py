"""Ending tasks for certain.

Python 3.11's `asyncio.wait_for`, through which redis-py sends every command, swallows a cancellation that arrives in
the very moment in which the command has been sent. A task that loops then runs on, and whoever waits for it waits for
ever; so a cancellation is repeated until it has worked.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

#: Seconds that a canceled task may take to end before it is canceled again.
PATIENCE: Final = 1.0


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and return once all have ended; what they raise by then is dropped."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=PATIENCE)
    await asyncio.gather(*tasks, return_exceptions=True)
