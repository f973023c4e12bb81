"""Refused webhooks are written to the quarantine in the background, after the response has been sent.

Writing can neither delay an answer nor change it. It is best effort and bounded: by the bytes of each second, by the
number and the bytes of the webhooks that wait, and by the time that Redis may take. Each one that cannot be kept is
counted and logged. They are written one at a time, because the connections and the time of Redis belong to accepted
webhooks.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from router import metrics
from router.core.ids import SID_DIGITS
from router.core.printable import masked
from router.core.refused import Bounds, Refused, shown_headers
from router.core.sealing import NO_KEYS
from router.core.stories import StageName, event_id, resource_of
from router.logs import log
from router.receiver.refused_events import events_of
from router.receiver.requests import raw_path_of
from router.streams.client.connection import Redis, RedisError
from router.streams.store.quarantine import keep
from router.streams.store.stories import StoryAbout

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from aiohttp import web

    from router.core.errors import WebhookError
    from router.core.events import Identity
    from router.core.keys import Keys
    from router.core.sealing import Sealer
    from router.inbound.sources import Source
    from router.receiver.authentication import RefusalContext
    from router.streams.store.stories import StoryWriter

#: Webhooks that may wait to be written, and their bytes in all.
MAX_WAITING: Final = 1000
MAX_WAITING_BYTES: Final = 16 * 1_048_576
#: Bytes of refused webhooks that are hashed and written in a second, and as many seconds' worth at once. Large ones
#: (core.refused) have an allowance of their own: they are rarely real, and must not use up that of the others.
SMALL_RATE: Final = 4 * 1_048_576
LARGE_RATE: Final = 2 * 1_048_576
BURST: Final = 4.0
#: Events of a refused webhook that are told.
MAX_TOLD: Final = 20
#: Seconds that Redis may take to write one.
WRITE_TIMEOUT: Final = 2.0
#: Seconds between two log lines about webhooks that were not kept while nothing is being written.
REPORT_EVERY: Final = 10.0
_ACCOUNT: Final = re.compile(f"AC{SID_DIGITS}")


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


class _Allowance:
    """So many bytes a second, and those of the last BURST seconds if they were not used."""

    def __init__(self, rate: int, clock: Callable[[], float]) -> None:
        self._rate, self._clock = rate, clock
        self._left, self._counted_at = rate * BURST, clock()

    def take(self, size: int) -> bool:
        """Take bytes; returns False, taking none, if fewer are left."""
        now = self._clock()
        self._left = min(self._rate * BURST, self._left + (now - self._counted_at) * self._rate)
        self._counted_at = now
        if size > self._left:
            return False
        self._left -= size
        return True


class Quarantine:
    """Writes refused webhooks in the background; one per process and event loop. `clock` gives seconds.

    `stories` are those of what was refused: each webhook that is kept is told there under the events that it names.
    `ours` are the SIDs of the configured accounts, whose webhooks are counted for `status`.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        bounds: Bounds,
        *,
        sealer: Sealer = NO_KEYS,
        stories: StoryWriter | None = None,
        ours: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sealer = sealer
        self._stories = stories
        self._ours = frozenset(ours)
        self._redis = redis
        self._keys = keys
        self._bounds = bounds
        self._clock = clock
        self._small, self._large = _Allowance(SMALL_RATE, clock), _Allowance(LARGE_RATE, clock)
        self._waiting: deque[Refused] = deque()
        self._size, self._dropped = 0, 0
        self._reported_at = -REPORT_EVERY
        self._writer: asyncio.Task[None] | None = None

    def put(self, refused: Refused) -> None:
        """Schedule a webhook to be written; returns at once and never raises."""
        if not self._bounds.entries:
            return
        refused = refused.within(self._bounds)
        allowance = self._large if refused.is_large else self._small
        is_full = len(self._waiting) >= MAX_WAITING or (self._waiting and self._size + refused.size > MAX_WAITING_BYTES)
        if is_full or not allowance.take(refused.size):
            metrics.count("router_quarantined", refused.reason, "failed")
            self._dropped += 1
            if self._writer is None and self._clock() - self._reported_at >= REPORT_EVERY:
                self._report()
            return
        self._waiting.append(refused)
        self._size += refused.size
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="quarantine")

    async def close(self) -> None:
        """Wait until everything is written or given up; each write has its own timeout."""
        while self._writer is not None:
            await asyncio.wait([self._writer])
        self._report()

    async def _write(self) -> None:
        """Write one by one; if Redis does not answer, give up all that wait: they would only wait in vain."""
        try:
            while self._waiting:
                refused = self._waiting[0]
                events = events_of(refused)
                named = replace(refused, event_id=event_id(events[0].key) if events else "")
                async with asyncio.timeout(WRITE_TIMEOUT):
                    entry_id = await keep(self._redis, self._keys, named, self._bounds, self._sealer, ours=self._ours)
                if entry_id is not None:
                    self._tell(named, events, entry_id)
                metrics.count("router_quarantined", refused.reason, "kept" if entry_id else "repeat")
                self._size -= self._waiting.popleft().size
        except (RedisError, OSError) as error:  # a TimeoutError is an OSError
            for refused in self._waiting:
                metrics.count("router_quarantined", refused.reason, "failed")
            _log_failure(type(error).__name__, len(self._waiting))
        finally:
            self._report()
            self._waiting.clear()
            self._size, self._writer = 0, None

    def _tell(self, refused: Refused, events: list[Identity], entry_id: str) -> None:
        if self._stories is None:
            return
        why = masked(refused.detail, has_ids=False)
        detail = f"answered {refused.status} ({refused.reason}): {why}; kept in the quarantine as {entry_id}"
        for one in events[:MAX_TOLD]:
            addresses = tuple(one.subject.split("|")[1:2])
            account_id = one.account_id if _ACCOUNT.fullmatch(one.account_id) else ""  # a stranger may write anything
            about = StoryAbout(event_id(one.key), account_id, resource_of(one.key), addresses=addresses)
            self._stories.tell(0, about, StageName.REFUSED, detail, at=refused.received_at)

    def _report(self) -> None:
        """Log what was dropped since the last line: one line for a whole flood."""
        if self._dropped:
            _log_failure("too many at once", self._dropped)
            self._dropped, self._reported_at = 0, self._clock()


def _log_failure(problem: str, webhooks: int) -> None:
    log("quarantine.failed", level="error", problem=problem, webhooks=webhooks)
