"""Samples of the streams that the console takes itself, for the curves of their rate and lag.

Every INTERVAL seconds it reads two numbers of each stream: how many entries were ever added, and how many its groups
have not read. MOST samples are kept, in memory only: a console that has just started has none. Partitions are added up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from router.streams.client.connection import RedisError
from router.streams.store.inspect import all_streams
from router.streams.store.overview import count_streams
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from router.core.keys import Keys
    from router.streams.client.connection import Redis

#: Seconds between two samples, and the samples that are kept: one hour.
INTERVAL: Final = 5.0
MOST: Final = 720


@dataclass(frozen=True, slots=True)
class StreamSample:
    """One sample at `at` (µs): by kind of stream, the entries ever added, and those that groups have not read."""

    at: int
    added: Mapping[str, int]
    lag: Mapping[str, int]


class StreamSamples:
    """The samples of one console process. `clock` returns µs since 1970."""

    def __init__(self, redis: Redis, keys: Keys, *, clock: Callable[[], int]) -> None:
        self._redis = redis
        self._streams = {key: key.partition("}:")[2] for key in all_streams(keys)}
        self._clock = clock
        self._samples: deque[StreamSample] = deque(maxlen=MOST)

    async def run(self) -> None:
        """Take samples until canceled; none while Redis is away."""
        while True:
            with suppress(RedisError, OSError):
                await self.take()
            await asyncio.sleep(INTERVAL)

    async def take(self) -> None:
        """Take one sample; raises RedisError."""
        counts = await count_streams(self._redis, list(self._streams))
        added: dict[str, int] = dict.fromkeys(self._streams.values(), 0)
        lag = dict(added)
        for kind, count in zip(self._streams.values(), counts, strict=True):
            added[kind] += count.added
            lag[kind] += count.unread
        self._samples.append(StreamSample(self._clock(), added, lag))

    def columns(self) -> dict[str, Any]:
        """Return the curves: `at` in seconds since 1970, and for each kind as many rates (per second) and lags."""
        pairs = list(zip(self._samples, list(self._samples)[1:], strict=False))
        kinds = dict.fromkeys(self._streams.values())
        return {
            "at": [round(later.at / 1e6, 1) for _, later in pairs],
            "streams": [
                {
                    "kind": kind,
                    "rate": [_rate(earlier, later, kind) for earlier, later in pairs],
                    "lag": [later.lag[kind] for _, later in pairs],
                }
                for kind in kinds
            ],
        }


@asynccontextmanager
async def sampling(samples: StreamSamples) -> AsyncIterator[None]:
    """Take samples while the block runs."""
    task = asyncio.create_task(samples.run(), name="samples")
    try:
        yield
    finally:
        await end(task)


def _rate(earlier: StreamSample, later: StreamSample, kind: str) -> float:
    """Return entries per second; 0 after the data of Redis was lost."""
    seconds = (later.at - earlier.at) / 1e6
    return round(max(0, later.added[kind] - earlier.added[kind]) / seconds, 2) if seconds > 0 else 0.0
