"""News of the streams for all open pages: one reader per console, however many pages are open.

While somebody listens it reads the participants, commands and dead-letter streams of all partitions a few times a
second, without a consumer group, and gives each entry to those who want it. Nothing is read while nobody listens. A
page that is too slow loses the oldest news, and is told how many (`Missed`); an outage of Redis is news as well.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from router.core.backoff import backoff
from router.core.keys import Target
from router.core.sealing import NO_KEYS
from router.core.stored_fields import open_stored
from router.logs import describe, log
from router.streams.client.connection import RedisError
from router.streams.client.error_replies import passes
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from router.core.keys import Keys
    from router.core.sealing import Sealer
    from router.streams.client.connection import Redis

#: Seconds between two reads, and the longest pause while Redis is away.
INTERVAL: Final = 0.2
LONGEST_PAUSE: Final = 3.0
#: Entries per stream and read.
PAGE: Final = 200
#: News that wait for a slow page.
MOST_WAITING: Final = 500


class StreamKind(StrEnum):
    """The streams that are followed."""

    PARTICIPANTS = "participants"
    COMMANDS = "commands"
    DEAD_LETTERS = "dead-letters"


@dataclass(frozen=True, slots=True)
class Arrival:
    """An entry that has arrived: its stream, id and fields as Redis has them, which may be anything."""

    kind: StreamKind
    stream: str
    entry_id: str
    fields: dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class RedisState:
    """Redis is away, or answers again."""

    is_up: bool


@dataclass(frozen=True, slots=True)
class Missed:
    """News that were dropped, since the page did not take them in time."""

    number: int


News = Arrival | RedisState | Missed


class Subscription:
    """The news for one page."""

    def __init__(self, accepts: Callable[[Arrival], bool]) -> None:
        self._accepts = accepts
        self._waiting: deque[Arrival | RedisState] = deque(maxlen=MOST_WAITING)
        self._missed = 0
        self._ready = asyncio.Event()

    def put(self, news: Arrival | RedisState) -> None:
        """Add news, if the page wants it; never waits."""
        if isinstance(news, Arrival) and not self._accepts(news):
            return
        self._missed += len(self._waiting) == MOST_WAITING
        self._waiting.append(news)
        self._ready.set()

    async def get(self) -> News:
        """Wait for the next news."""
        while not self._waiting:
            self._ready.clear()
            await self._ready.wait()
        if self._missed:
            missed, self._missed = self._missed, 0
            return Missed(missed)
        return self._waiting.popleft()

    def __aiter__(self) -> Subscription:
        """Iterate without an end."""
        return self

    async def __anext__(self) -> News:
        return await self.get()


class Hub:
    """The reader of one console, and those who listen; `run` must run. Entries come as far as `sealer` opens them."""

    def __init__(self, redis: Redis, keys: Keys, sealer: Sealer = NO_KEYS) -> None:
        self._redis = redis
        self._sealer = sealer
        self._streams = _streams_of(keys)
        self._subscriptions: set[Subscription] = set()
        self._wanted = asyncio.Event()
        self._position: dict[str, str] = {}
        self.is_up = True

    @asynccontextmanager
    async def subscribe(self, accepts: Callable[[Arrival], bool] = lambda _: True) -> AsyncIterator[Subscription]:
        """Listen while the block runs, to what arrives from now on; `accepts` must be quick and must not raise."""
        subscription = Subscription(accepts)
        self._subscriptions.add(subscription)
        self._wanted.set()
        if not self.is_up:
            subscription.put(RedisState(is_up=False))
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
            if not self._subscriptions:
                self._wanted.clear()

    @property
    def listeners(self) -> int:
        """The number of those who listen."""
        return len(self._subscriptions)

    async def run(self) -> None:
        """Read until canceled."""
        failures = 0
        while True:
            if not self._wanted.is_set():
                self._position = {}
                await self._wanted.wait()
            try:
                is_full, outage = await self._read()
            except (RedisError, OSError) as error:
                is_full, outage = False, error
            failures = failures + 1 if outage else 0
            self._set_up(is_up=outage is None, reason=describe(outage) if outage else "")
            pause = backoff(INTERVAL, failures - 1, ceiling=LONGEST_PAUSE) if outage else INTERVAL
            await asyncio.sleep(0 if is_full else pause)

    async def _read(self) -> tuple[bool, Exception | None]:
        """Read once; returns whether there may be more, and the outage of a part, which holds up no other part."""
        outage = await self._find_last_ids()
        pipeline = self._redis.pipeline(transaction=False)
        parts = _by_partition(self._position)
        for part in parts:
            pipeline.xread(dict(part), count=PAGE)
        is_full = False
        for part, rows in zip(parts, await pipeline.execute(raise_on_error=False), strict=True):
            try:
                found = await self._read_apart(dict(part), rows) if isinstance(rows, Exception) else rows
            except (RedisError, OSError) as error:
                outage = error
                continue
            for stream, entries in found or []:
                name = stream.decode()
                self._position[name] = entries[-1][0].decode()
                is_full = is_full or len(entries) == PAGE
                for entry_id, fields in entries:
                    opened, _ = open_stored(fields, self._sealer)
                    self._publish(Arrival(self._streams[name], name, entry_id.decode(), opened))
        return is_full, outage

    async def _read_apart(self, part: Mapping[str, str], error: Exception) -> list[Any]:
        """Return the entries of streams that cannot be read together: a key that is no stream has none.

        Raises the error if it is an outage.
        """
        if passes(error):
            raise error
        found: list[Any] = []
        for stream, last in part.items():
            try:
                found += await self._redis.xread({stream: last}, count=PAGE) or []
            except RedisError as problem:
                if passes(problem):
                    raise
        return found

    async def _find_last_ids(self) -> Exception | None:
        """Begin where the streams end that have no position yet; returns the outage of those that cannot be asked."""
        streams = [stream for stream in self._streams if stream not in self._position]
        pipeline = self._redis.pipeline(transaction=False)
        for stream in streams:
            pipeline.xrevrange(stream, count=1)
        newest: list[Any] = await pipeline.execute(raise_on_error=False) if streams else []
        outage: Exception | None = None
        for stream, rows in zip(streams, newest, strict=True):
            if isinstance(rows, Exception) and passes(rows):
                outage = rows
            else:
                self._position[stream] = rows[0][0].decode() if rows and not isinstance(rows, Exception) else "0-0"
        return outage

    def _publish(self, news: Arrival | RedisState) -> None:
        for subscription in self._subscriptions:
            subscription.put(news)

    def _set_up(self, *, is_up: bool, reason: str = "") -> None:
        if is_up == self.is_up:
            return
        self.is_up = is_up
        if not is_up:
            log("console.waiting", level="warning", reason=reason)
        self._publish(RedisState(is_up=is_up))


def _streams_of(keys: Keys) -> dict[str, StreamKind]:
    streams: dict[str, StreamKind] = {}
    for partition in range(keys.partitions):
        streams |= {keys.participants(partition, target): StreamKind.PARTICIPANTS for target in Target}
        streams[keys.commands(partition)] = StreamKind.COMMANDS
        streams[keys.dead_letters(partition)] = StreamKind.DEAD_LETTERS
    return streams


def _by_partition(position: dict[str, str]) -> list[list[tuple[Any, Any]]]:
    """Group the streams by partition: one read per partition, since they may lie on different servers."""
    parts: dict[str, list[tuple[Any, Any]]] = {}
    for stream, last in position.items():
        parts.setdefault(stream.partition("}")[0], []).append((stream, last))
    return list(parts.values())


@asynccontextmanager
async def running(hub: Hub) -> AsyncIterator[None]:
    """Run the reader while the block runs."""
    task = asyncio.create_task(hub.run(), name="hub")
    try:
        yield
    finally:
        await end(task)
