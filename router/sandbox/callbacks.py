"""Delivers status callbacks the way Twilio signs them, and as unreliably as the switches say.

POST of JSON with `bodySHA256` in the URL, `X-Twilio-Signature` and one `I-Twilio-Idempotency-Token` per event, equal
over its retries and duplicates. Retried on no connection, 5xx and 429; then given up, with a log line. In order per
conversation and URL unless shuffled. GET callbacks are skipped: how they carry the event is undocumented. At most
MAX_PENDING events wait; what comes on top is dropped, counted and logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import aiohttp
import orjson
from yarl import URL

from router.core.backoff import backoff
from router.core.signing.twilio import sign
from router.sandbox.clock import SECOND

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from router.sandbox.options import SandboxOptions
    from router.sandbox.v2.records import Callback

MAX_PENDING: Final = 100_000
MAX_CONCURRENT: Final = 64
_OK: Final = range(200, 300)
_SERVER_ERROR: Final = 500
_TOO_MANY: Final = 429

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CallbackDelivery:
    """One event for one URL; `not_before` is the sandbox's time, in µs."""

    url: str
    body: bytes
    token: str
    event_type: str
    not_before: int


class Deliverer:
    """Takes events from the state and posts them in the background; `counts` tells what became of them."""

    def __init__(self, entropy: random.Random) -> None:
        self._entropy = entropy
        self._queues: dict[tuple[str, str], deque[CallbackDelivery]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._session: aiohttp.ClientSession | None = None
        self._options: Callable[[], SandboxOptions]
        self._now: Callable[[], int]
        self._advanced = asyncio.Event()
        self.counts: Counter[str] = Counter()

    @property
    def pending(self) -> int:
        """How many deliveries wait or are under way."""
        return self.counts["queued"] - self.counts["delivered"] - self.counts["failed"]

    async def start(self, options: Callable[[], SandboxOptions], now: Callable[[], int]) -> None:
        """Begin; `options` tells the switches of the moment, `now` the sandbox's time in µs."""
        self._options, self._now = options, now
        self._session = aiohttp.ClientSession(auto_decompress=False)

    def wake(self) -> None:
        """Look at the time again, which has been advanced: what was delayed may be due."""
        self._advanced.set()

    async def close(self) -> None:
        """Stop at once; what is pending is lost."""
        await self.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def clear(self) -> None:
        """Forget everything that is pending, and the counts."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._queues.clear()
        self.counts.clear()

    def publish(self, conversation_id: str, callbacks: tuple[Callback, ...], event: dict[str, Any]) -> None:
        """Deliver `event` to each callback some time later; never raises."""
        if self._session is None:
            return
        body, token = orjson.dumps(event), str(UUID(int=self._entropy.getrandbits(128), version=4))
        options = self._options()
        due = self._due(options)
        for callback in callbacks:
            if callback.method != "POST":
                log.info("callback skipped: method %s carries no event", callback.method)
                continue
            delivery = CallbackDelivery(callback.url, body, token, event["eventType"], due)
            for _ in range(1 + options.callback_duplicates):
                self._enqueue(conversation_id, delivery, options.callback_drop_fraction)

    def _due(self, options: SandboxOptions) -> int:
        return self._now() + round(options.callback_delay_seconds * SECOND)

    def _enqueue(self, conversation_id: str, delivery: CallbackDelivery, drop_fraction: float) -> None:
        if drop_fraction and self._entropy.random() < drop_fraction:
            self.counts["dropped"] += 1
            return
        if self.pending >= MAX_PENDING:
            self.counts["dropped"] += 1
            log.warning("callback dropped: %d are pending", MAX_PENDING)
            return
        self.counts["queued"] += 1
        key = (conversation_id, delivery.url)
        queue = self._queues.get(key)
        if queue is not None:
            queue.append(delivery)
            return
        self._queues[key] = deque([delivery])
        task = asyncio.get_running_loop().create_task(self._drain(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self, key: tuple[str, str]) -> None:
        queue = self._queues[key]
        while queue:
            if self._options().callback_order == "shuffled":
                queue.rotate(self._entropy.randrange(len(queue)))
            delivery = queue.popleft()
            await self._wait_for(delivery.not_before)
            is_delivered = await self._deliver(delivery)
            self.counts["delivered" if is_delivered else "failed"] += 1
        del self._queues[key]

    async def _wait_for(self, moment: int) -> None:
        while (left := moment - self._now()) > 0:
            self._advanced.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left / SECOND):
                    await self._advanced.wait()

    async def _deliver(self, delivery: CallbackDelivery) -> bool:
        """Post until it is taken, refused for good or given up; tell whether it was taken."""
        options = self._options()
        status: int | None = None
        for attempt in range(1 + options.callback_retries):
            if attempt:
                await asyncio.sleep(backoff(options.callback_backoff_seconds, attempt - 1))
            status = await self._post(delivery, options)
            if status in _OK:
                return True
            if status is not None and status < _SERVER_ERROR and status != _TOO_MANY:
                break
        log.warning("callback given up: %s, last status %s", delivery.event_type, status or "none")
        return False

    async def _post(self, delivery: CallbackDelivery, options: SandboxOptions) -> int | None:
        """Post once; the HTTP status, or None without an answer."""
        if self._session is None:
            return None
        url = signed_url(delivery.url, delivery.body)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "TwilioProxy/1.1",
            "X-Twilio-Signature": sign(options.auth_token, url.encode()),
            "I-Twilio-Idempotency-Token": delivery.token,
        }
        self.counts["attempts"] += 1
        timeout = aiohttp.ClientTimeout(total=options.callback_timeout_seconds)
        with suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):  # ValueError: a URL that is none
            async with (
                self._slots,
                self._session.post(
                    URL(url, encoded=True), data=delivery.body, headers=headers, timeout=timeout, allow_redirects=False
                ) as response,
            ):
                return response.status
        return None


def signed_url(url: str, body: bytes) -> str:
    """Return the URL that is called and signed: with `bodySHA256`, without user info and fragment."""
    parts = urlsplit(url)
    stated = f"bodySHA256={sha256(body).hexdigest()}"
    query = f"{parts.query}&{stated}" if parts.query else stated
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path or "/", query, ""))
