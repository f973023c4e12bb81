"""When an event that the spool could not take may go to Redis directly: whether Redis answers, and what is before it.

The drainer tells what it learns about Redis. It tries anew whenever somebody asks who has no other place for an event,
so that the first webhook after an outage finds Redis back, and the others are refused without a wait.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from router.streams.store.append import InboundFields

#: Seconds in which Redis must answer a new attempt after it has failed to answer the last one.
LOOK_TIMEOUT: Final = 0.1


class Turns:
    """The events of each subject in the own file of a spool, and the last attempt to reach Redis."""

    def __init__(self) -> None:
        self._problem: str | None = None
        self._wanted, self._moved = asyncio.Event(), asyncio.Event()
        self._older: Counter[tuple[str, str]] = Counter()

    def note_redis(self, problem: str | None) -> None:
        """Note that Redis takes events (None), or why it does not."""
        self._problem = problem
        self.wake()

    async def look_for_redis(self) -> str | None:
        """Return None if Redis takes events as far as is known, else why not.

        If it took none at the last attempt, another one is asked for; that is waited for, but not for long.
        """
        if self._problem is not None:
            self._wanted.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_TIMEOUT):
                    await self._moved.wait()
        return self._problem

    async def wait_until_wanted(self, limit: float) -> bool:
        """Return True once an attempt to reach Redis is wanted, False after `limit` seconds without."""
        try:
            async with asyncio.timeout(limit):
                await self._wanted.wait()
        except TimeoutError:
            return False
        self._wanted.clear()
        return True

    async def wait_for_move(self) -> None:
        """Return after the next change that an event may wait for."""
        await self._moved.wait()

    def wake(self) -> None:
        """Let all that wait look again."""
        self._moved.set()
        self._moved.clear()

    def has_older(self, fields: InboundFields) -> bool:
        """Tell whether the file has events of the same subject."""
        return (fields.account_id, fields.subject) in self._older

    def add(self, fields: InboundFields) -> None:
        """Note that an event is in the file."""
        self._older[fields.account_id, fields.subject] += 1

    def remove(self, fields: InboundFields) -> None:
        """Note that an event of the file is in Redis."""
        subject = fields.account_id, fields.subject
        self._older[subject] -= 1
        if self._older[subject] <= 0:
            del self._older[subject]

    def clear(self) -> None:
        """Note that the file has no events, or none that can be waited for."""
        self._older.clear()
        self.wake()
