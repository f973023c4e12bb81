"""Delivery of events to webhook URLs in the background, as unreliable as the switches say.

In order per conversation and URL unless shuffled; delayed, duplicated or dropped by switch. Each URL has a lane of its
own: at most MAX_CONCURRENT requests at once, and at most MAX_PENDING events that wait (more are dropped, counted and
logged), so that a slow URL delays and drops only its own events. v2/callbacks and classic/webhooks say what is posted,
with which signature, and what follows on the response.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from yarl import URL

from router.sandbox.clock import SECOND

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from router.sandbox.options import SandboxOptions

#: Of one URL: events that wait or are under way, and requests at once.
MAX_PENDING: Final = 100_000
MAX_CONCURRENT: Final = 64
#: Statuses of an accepted event.
OK: Final = range(200, 300)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CallbackDelivery:
    """One event for one URL; `not_before` is the sandbox's time in µs. A GET has its parameters in `body` too."""

    url: str
    body: bytes
    token: str
    event_type: str
    not_before: int
    method: str = "POST"


@dataclass(slots=True)
class _Lane:
    """The deliveries to one URL: the number pending, and the slots of its requests."""

    pending: int = 0
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_CONCURRENT))


class Deliverer(ABC):
    """Posts events in the background; `counts` has the results."""

    def __init__(self, entropy: random.Random) -> None:
        self._entropy = entropy
        self._queues: dict[tuple[str, str], deque[CallbackDelivery]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._lanes: dict[str, _Lane] = {}
        self._session: aiohttp.ClientSession | None = None
        self._options: Callable[[], SandboxOptions]
        self._now: Callable[[], int]
        self._advanced = asyncio.Event()
        self.counts: Counter[str] = Counter()

    @property
    def pending(self) -> int:
        """The number of deliveries that wait or are under way."""
        return self.counts["queued"] - self.counts["delivered"] - self.counts["failed"]

    async def start(self, options: Callable[[], SandboxOptions], now: Callable[[], int]) -> None:
        """Start delivering; `options` returns the current switches, `now` the sandbox's time in µs."""
        self._options, self._now = options, now
        connector = aiohttp.TCPConnector(limit=0)  # the lanes bound the requests to each URL
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)

    def wake(self) -> None:
        """Check the time again, after the clock was advanced."""
        self._advanced.set()

    async def close(self) -> None:
        """Stop at once; pending deliveries are lost."""
        tasks = list(self._tasks)
        self.clear()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def clear(self) -> None:
        """Drop all pending deliveries, and reset the counts."""
        for task in self._tasks:
            task.cancel()
        self._queues.clear()
        self._lanes.clear()
        self.counts.clear()

    def _enqueue(
        self, conversation_id: str, url: str, body: bytes, event_type: str, *, token: str = "", method: str = "POST"
    ) -> None:
        """Queue an event once, and once more for each duplicate that the switches ask for."""
        options = self._options()
        due = self._now() + round(options.callback_delay_seconds * SECOND)
        delivery = CallbackDelivery(url, body, token, event_type, due, method)
        for _ in range(1 + options.callback_duplicates):
            self._queue(conversation_id, delivery, options.callback_drop_fraction)

    def _queue(self, conversation_id: str, delivery: CallbackDelivery, drop_fraction: float) -> None:
        if drop_fraction and self._entropy.random() < drop_fraction:
            self.counts["dropped"] += 1
            return
        lane = self._lanes.setdefault(delivery.url, _Lane())
        if lane.pending >= MAX_PENDING:
            self.counts["dropped"] += 1
            log.warning("callback dropped: %d to its URL are pending", MAX_PENDING)
            return
        lane.pending += 1
        self.counts["queued"] += 1
        key = (conversation_id, delivery.url)
        queue = self._queues.get(key)
        if queue is not None:
            queue.append(delivery)
            return
        self._queues[key] = deque([delivery])
        task = asyncio.get_running_loop().create_task(self._drain(key, lane))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self, key: tuple[str, str], lane: _Lane) -> None:
        queue = self._queues[key]
        while queue:
            if self._options().callback_order == "shuffled":
                queue.rotate(self._entropy.randrange(len(queue)))
            delivery = queue.popleft()
            await self._wait_for(delivery.not_before)
            is_delivered = await self._deliver(delivery, lane.slots)
            self.counts["delivered" if is_delivered else "failed"] += 1
            lane.pending -= 1
            if not lane.pending:
                self._lanes.pop(delivery.url, None)
        del self._queues[key]

    async def _wait_for(self, moment: int) -> None:
        while (left := moment - self._now()) > 0:
            self._advanced.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left / SECOND):
                    await self._advanced.wait()

    @abstractmethod
    async def _deliver(self, delivery: CallbackDelivery, slots: asyncio.Semaphore) -> bool:
        """Post an event until it is accepted or given up, each try in one of `slots`; tells whether it was accepted."""

    async def _send(
        self, url: str, body: bytes | None, headers: Mapping[str, str], *, patience: float, is_read: bool
    ) -> tuple[int, bytes] | None:
        """Post a body once, or get the URL without one; returns the status and, if `is_read`, the body of the response.

        None after `patience` seconds.
        """
        if self._session is None:
            return None
        self.counts["attempts"] += 1
        with suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):  # ValueError: not a URL
            async with self._session.request(
                "GET" if body is None else "POST",
                URL(url, encoded=True),
                data=body,
                headers={"User-Agent": "TwilioProxy/1.1", **headers},
                timeout=aiohttp.ClientTimeout(total=patience),
                allow_redirects=False,
            ) as response:
                return response.status, await response.read() if is_read else b""
        return None


def called_url(url: str, *parameters: str) -> str:
    """Return the URL that is called and signed: without user info and fragment, with `parameters` in its query.

    A text that is no URL is returned as it is; its deliveries fail like those without a receiver.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    query = "&".join(filter(None, (parts.query, *parameters)))
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path or "/", query, ""))
