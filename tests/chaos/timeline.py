"""The time of a round: seconds since it began, and its end, which ends every pause."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Timeline:
    """Lets tasks wait for moments of a schedule; to be made where the loop runs."""

    def __init__(self) -> None:
        self._begun = asyncio.get_running_loop().time()
        self._over = asyncio.Event()

    def restart(self) -> None:
        """Begin to count again at 0."""
        self._begun = asyncio.get_running_loop().time()

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return asyncio.get_running_loop().time() - self._begun

    @property
    def is_over(self) -> bool:
        """Whether the end has come."""
        return self._over.is_set()

    def end(self) -> None:
        """End every wait at once, those that begin later too."""
        self._over.set()

    async def reach(self, moment: float) -> None:
        """Wait for a moment, or the end."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._begun + moment):
                await self._over.wait()

    async def pause(self, seconds: float) -> None:
        """Wait so many seconds, or for the end."""
        if seconds > 0:
            await self.reach(self.now + seconds)
