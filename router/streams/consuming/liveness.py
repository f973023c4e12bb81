"""Whether a consumer works or only looks alive: its background tasks run, and what it holds is being worked on.

A consumer that beats keeps its entries from others for ever. So one that can do nothing more with them has failed: its
process ends, its heartbeat with it, and others take over. A slow API or a slow handler is no such failure, however long
it lasts: an attempt is running then. Nor is Redis: its outages end, and nobody can take over meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from router.logs import describe_end
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine

    from router.streams.consuming.groups import Heartbeat

#: Seconds between two looks.
INTERVAL: Final = 1.0
#: Seconds for which entries may be held without a step, although no batch is being taken in and no attempt runs.
LONGEST_IDLE: Final = 30.0


class Liveness:
    """Watches the consumer that beats by `heartbeat` and holds `held`; `begin` and `end` surround each of its steps.

    `clock` gives seconds.
    """

    def __init__(
        self, heartbeat: Heartbeat, held: Collection[object], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.heartbeat = heartbeat
        self._held = held
        self._clock = clock
        self._running = 0
        self._steps = 0
        self._seen, self._seen_at = -1, 0.0
        self._failure: str | None = None
        #: Tasks that never end while the consumer works.
        self.tasks: list[asyncio.Task[None]] = []

    @property
    def problem(self) -> str | None:
        """Why the consumer does no work now; None if it does. It may be asked by another thread."""
        age, limit = self.heartbeat_age, self.heartbeat.ttl
        if self._failure is None and age > limit:
            return f"no heartbeat for {limit:.0f} s and more: Redis does not answer, or the event loop does not run"
        return self._failure

    @property
    def heartbeat_age(self) -> float:
        """Seconds since the heartbeat was renewed on every server."""
        return self._clock() - self.heartbeat.beaten_at

    def begin(self) -> None:
        """Note that a batch is being taken in or an entry attempted."""
        self._running += 1
        self._steps += 1

    def end(self) -> None:
        """Note that this has ended."""
        self._running -= 1
        self._steps += 1

    async def failed(self, reading_failed: Coroutine[Any, Any, None]) -> str:
        """Return why the consumer has failed, once it has."""
        reading = asyncio.create_task(reading_failed)
        watched = [reading, *self.tasks, *self.heartbeat.tasks]
        try:
            while self._failure is None:
                await asyncio.wait(watched, timeout=INTERVAL, return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    self._failure = "the key of a stream holds another type: see reading.failed"
                else:
                    self._failure = next(filter(None, map(describe_end, watched)), None) or self._find_idleness()
        finally:
            await end(reading)
        return self._failure

    def _find_idleness(self) -> str | None:
        now = self._clock()
        if self._running or not self._held or self._steps != self._seen:
            self._seen, self._seen_at = self._steps, now
        if now - self._seen_at < LONGEST_IDLE:
            return None
        return f"{len(self._held)} entries are held, and nothing has worked on them for {LONGEST_IDLE:.0f} s"
