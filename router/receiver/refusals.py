"""Puts what the door refused into the quarantine, behind the answer's back.

The caller has its answer by then: whatever becomes of the writing can neither delay it nor make another of it. So it
is best effort, and bounded: what waits, in number and bytes, and how long Redis may take. What cannot be kept is
counted and logged. One at a time, because the connections and the time of Redis belong to webhooks that are taken in.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from router import metrics
from router.core.refused import Bounds, Refused, shown_headers
from router.logs import log
from router.receiver.authentication import raw_path_of
from router.streams.client.connection import Redis, RedisError
from router.streams.store.quarantine import keep

if TYPE_CHECKING:
    from aiohttp import web

    from router.core.errors import WebhookError
    from router.core.keys import Keys
    from router.inbound.sources import Source
    from router.receiver.authentication import RefusalContext

#: So many may wait to be written, with so many bytes in all.
MAX_WAITING: Final = 1000
MAX_WAITING_BYTES: Final = 16 * 1_048_576
#: Seconds that Redis may take to keep one.
TIME_LIMIT: Final = 2.0


def make_refused(
    request: web.Request, source: Source, error: WebhookError, evidence: RefusalContext, received_at: int
) -> Refused:
    """Return what is known of a request that was refused; `received_at` in microseconds since 1970."""
    is_announced = bool(request.content_length) or "Transfer-Encoding" in request.headers
    return Refused(
        source=source.name,
        reason=error.reason,
        detail=str(error),
        status=error.status,
        received_at=received_at,
        method=request.method,
        raw_path=raw_path_of(request),
        headers=shown_headers(request.headers.items()),
        account_id=evidence.account_id,
        body=evidence.body,
        is_whole=not evidence.is_cut and (bool(evidence.body) or not is_announced),
    )


class Quarantine:
    """Writes refused webhooks in the background; one per process and event loop."""

    def __init__(self, redis: Redis, keys: Keys, bounds: Bounds) -> None:
        self._redis = redis
        self._keys = keys
        self._bounds = bounds
        self._waiting: deque[Refused] = deque()
        self._size, self._crowded = 0, 0
        self._writer: asyncio.Task[None] | None = None

    def put(self, refused: Refused) -> None:
        """Have it written soon; returns at once and never raises."""
        if not self._bounds.entries:
            return
        refused = refused.within(self._bounds.size)
        if len(self._waiting) >= MAX_WAITING or (self._waiting and self._size + refused.size > MAX_WAITING_BYTES):
            metrics.count("router_quarantined", refused.reason, "failed")
            self._crowded += 1
            return
        self._waiting.append(refused)
        self._size += refused.size
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="quarantine")

    async def close(self) -> None:
        """Wait until all that waits is written or given up, as long as Redis may take for one at a time."""
        while self._writer is not None:
            await asyncio.wait([self._writer])

    async def _write(self) -> None:
        """Write what waits, one by one; without an answer all of it is given up, since the rest would wait in vain."""
        try:
            while self._waiting:
                refused = self._waiting[0]
                async with asyncio.timeout(TIME_LIMIT):
                    entry_id = await keep(self._redis, self._keys, refused, self._bounds)
                metrics.count("router_quarantined", refused.reason, "kept" if entry_id else "repeat")
                self._size -= self._waiting.popleft().size
        except (RedisError, OSError) as error:  # OSError: a timeout is one too
            for refused in self._waiting:
                metrics.count("router_quarantined", refused.reason, "failed")
            _tell(type(error).__name__, len(self._waiting))
        finally:
            if self._crowded:  # one line for all of a flood
                _tell("too many waited", self._crowded)
            self._waiting.clear()
            self._size, self._crowded, self._writer = 0, 0, None


def _tell(problem: str, webhooks: int) -> None:
    log("quarantine.failed", level="error", problem=problem, webhooks=webhooks)
