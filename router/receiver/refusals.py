"""Refused webhooks are written to the quarantine in the background, after the response has been sent.

Writing can neither delay an answer nor change it. It is best effort and bounded: by the number and the bytes of the
webhooks that wait, and by the time that Redis may take. Each one that cannot be kept is counted and logged. They are
written one at a time, because the connections and the time of Redis belong to accepted webhooks.
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

#: Webhooks that may wait to be written, and their bytes in all.
MAX_WAITING: Final = 1000
MAX_WAITING_BYTES: Final = 16 * 1_048_576
#: Seconds that Redis may take to write one.
WRITE_TIMEOUT: Final = 2.0


def make_refused(
    request: web.Request, source: Source, error: WebhookError, context: RefusalContext, received_at: int
) -> Refused:
    """Return the quarantine entry of a refused request; `received_at` in microseconds since 1970."""
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
        account_id=context.account_id,
        body=context.body,
        is_whole=not context.is_cut and (bool(context.body) or not is_announced),
    )


class Quarantine:
    """Writes refused webhooks in the background; one per process and event loop."""

    def __init__(self, redis: Redis, keys: Keys, bounds: Bounds) -> None:
        self._redis = redis
        self._keys = keys
        self._bounds = bounds
        self._waiting: deque[Refused] = deque()
        self._size, self._dropped = 0, 0
        self._writer: asyncio.Task[None] | None = None

    def put(self, refused: Refused) -> None:
        """Schedule a webhook to be written; returns at once and never raises."""
        if not self._bounds.entries:
            return
        refused = refused.within(self._bounds.size)
        if len(self._waiting) >= MAX_WAITING or (self._waiting and self._size + refused.size > MAX_WAITING_BYTES):
            metrics.count("router_quarantined", refused.reason, "failed")
            self._dropped += 1
            return
        self._waiting.append(refused)
        self._size += refused.size
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="quarantine")

    async def close(self) -> None:
        """Wait until everything is written or given up; each write has its own timeout."""
        while self._writer is not None:
            await asyncio.wait([self._writer])

    async def _write(self) -> None:
        """Write one by one; if Redis does not answer, give up all that wait: they would only wait in vain."""
        try:
            while self._waiting:
                refused = self._waiting[0]
                async with asyncio.timeout(WRITE_TIMEOUT):
                    entry_id = await keep(self._redis, self._keys, refused, self._bounds)
                metrics.count("router_quarantined", refused.reason, "kept" if entry_id else "repeat")
                self._size -= self._waiting.popleft().size
        except (RedisError, OSError) as error:  # a TimeoutError is an OSError
            for refused in self._waiting:
                metrics.count("router_quarantined", refused.reason, "failed")
            _log_failure(type(error).__name__, len(self._waiting))
        finally:
            if self._dropped:  # one line for a whole flood
                _log_failure("too many waited", self._dropped)
            self._waiting.clear()
            self._size, self._dropped, self._writer = 0, 0, None


def _log_failure(problem: str, webhooks: int) -> None:
    log("quarantine.failed", level="error", problem=problem, webhooks=webhooks)
