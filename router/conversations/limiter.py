"""The limit on requests in flight: it halves on 429 and rises again; callers wait in order of arrival.

The API documents 429 for every operation but no number, so the number is found by probing (additive increase,
multiplicative decrease). `ConcurrencyWindow` is the pure arithmetic; `Limiter` makes callers wait for it. Neither sends
or repeats anything.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from router.core.errors import RateLimitError, TransportError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

#: Seconds that the Retry-After of a 429 holds back all requests at most. It may be meant for one customer only, whose
#: own event waits as long as asked; if the whole account is meant, the lower cap bounds the requests that find it out.
MAX_HOLD: Final = 1.0
#: Seconds after a 429 without background requests.
CALM: Final = 60.0


class ConcurrencyWindow:
    """The cap and the hold, adjusted by responses. Times are seconds of one monotonic clock."""

    def __init__(self, maximum: int) -> None:
        if maximum < 1:
            raise ValueError("max_in_flight must be 1 or more")
        self.maximum = maximum
        self.cap = maximum
        self._successes = 0
        self._fell_at = float("-inf")
        self._held_until = float("-inf")

    def succeed(self) -> None:
        """Count a response that was not a 429; `cap` of them raise the cap by one."""
        self._successes += 1
        if self._successes >= self.cap:
            self._successes = 0
            self.cap = min(self.maximum, self.cap + 1)

    def throttle(self, *, started: float, now: float) -> bool:
        """Halve the cap for a 429 to a request that was sent at `started`; return whether the cap fell.

        A request that was sent before the last fall says nothing about the current cap, so a burst of 429s to requests
        that were in flight together counts once.
        """
        if started < self._fell_at:
            return False
        self.cap = max(1, self.cap // 2)
        self._successes = 0
        self._fell_at = now
        return True

    def hold(self, seconds: float, *, now: float) -> None:
        """Hold back new requests for `seconds`, at most MAX_HOLD; a shorter hold never shortens a longer one."""
        self._held_until = max(self._held_until, now + min(seconds, MAX_HOLD))

    def held_for(self, now: float) -> float:
        """Return the seconds that new requests have to wait, 0 if none."""
        return max(0.0, self._held_until - now)

    def is_calm(self, now: float) -> bool:
        """Tell whether there is no hold and the last 429 is at least CALM seconds ago."""
        return not self.held_for(now) and now - self._fell_at >= CALM


class Limiter:
    """Admits requests as the window allows, in order of arrival; a cancelled waiter loses no slot."""

    def __init__(
        self,
        maximum: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.window = ConcurrencyWindow(maximum)
        self.in_flight = 0
        self._clock = clock
        self._sleep = sleep
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def has_spare(self) -> bool:
        """Tell whether a background request delays no other: no queue, half of the slots free, no recent 429."""
        is_free = not self._waiters and self.in_flight < max(1, self.window.cap // 2)
        return is_free and self.window.is_calm(self._clock())

    @asynccontextmanager
    async def slot(self, deadline: float) -> AsyncIterator[None]:
        """Hold one slot while the block runs.

        Raises RateLimitError at once if a Retry-After lasts past `deadline`, and TransportError (not sent) if no slot
        became free before it.
        """
        self._check_hold(deadline)
        if not self._waiters and self.in_flight < self.window.cap:
            self.in_flight += 1  # a free slot needs no queue and no timeout
        else:
            await self._acquire_by(deadline)
        try:
            await self._wait_out_hold(deadline)
            yield
        finally:
            self._release()

    async def _acquire_by(self, deadline: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock())):
                await self._acquire()
        except TimeoutError:
            raise TransportError("no slot became free before the deadline", is_sent=False) from None

    def succeed(self) -> None:
        """Report a response that was not a 429."""
        self.window.succeed()
        self._wake()

    def throttle(self, *, started: float) -> None:
        """Report a 429 to a request that was sent at `started`."""
        self.window.throttle(started=started, now=self._clock())

    def hold(self, seconds: float) -> None:
        """Report the Retry-After of a 429; it holds back requests for at most MAX_HOLD seconds."""
        self.window.hold(seconds, now=self._clock())

    async def _acquire(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._wake()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with suppress(ValueError):  # _wake may have removed it already
                    self._waiters.remove(waiter)
            else:
                self._release()  # the slot was handed over at the same time
            raise

    def _release(self) -> None:
        self.in_flight -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiters and self.in_flight < self.window.cap:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(None)

    async def _wait_out_hold(self, deadline: float) -> None:
        while (seconds := self._check_hold(deadline)) > 0:
            await self._sleep(seconds)

    def _check_hold(self, deadline: float) -> float:
        now = self._clock()
        seconds = self.window.held_for(now)
        if seconds > 0 and now + seconds >= deadline:
            raise RateLimitError("held back by an earlier Retry-After until after the deadline", retry_after=seconds)
        return seconds
