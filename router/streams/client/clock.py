"""The time of Redis, by which every age is measured.

Hosts disagree about the time, and an age that compares two of their clocks is wrong by the difference: a call that a
receiver a minute behind took in would look given up to a worker at once. So there is one clock, that of Redis: stream
ids are its time, scripts read it, and each process keeps an estimate of it here. The estimate costs one command every
INTERVAL seconds and none per event. In between the process' monotonic clock carries it on, so that a step of the host's
clock does not matter, nor does an outage of Redis.

A measurement takes the middle between its sending and its answer, and is wrong by half of that time at most. The better
one of two is kept unless they contradict each other: then the clock of Redis was set, or another server has taken over.

Known gaps: in a Cluster it is the time of the node that has partition 0, so the clocks of its nodes must agree. A
receiver that starts while Redis is down goes by its own clock until Redis answers.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from router.logs import log
from router.metrics import gauge
from router.streams.client.connection import Redis, RedisError, load_script

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two measurements, and before the next attempt until the first one has succeeded.
INTERVAL: Final = 10.0
FIRST_INTERVAL: Final = 1.0
#: Seconds by which this host's clock may differ from that of Redis before that is logged, and `check` warns.
MOST_SKEW: Final = 5.0
#: By how much the monotonic clock may be wrong per elapsed time: ten times a bad quartz.
_DRIFT: Final = 0.0005


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement, in µs: by how much the time of Redis is ahead of the monotonic clock, its error, and when."""

    ahead: int
    error: float
    at: int

    def or_better(self, later: Measurement) -> Measurement:
        """Return the more precise one; the later one if they contradict each other."""
        error = self.error + _DRIFT * (later.at - self.at)
        is_contradiction = abs(later.ahead - self.ahead) > error + later.error
        return later if is_contradiction or later.error <= error else self


class RedisClock:
    """An estimate of the time of Redis. Calling it returns µs since 1970; it is this host's time before `measure`.

    `key`: its server is the one that is asked. `wall` returns this host's time in µs since 1970.
    """

    __slots__ = ("_ahead", "_is_skewed", "_key", "_measurement", "_wall")

    def __init__(self, key: str, *, wall: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._key = key
        self._wall = wall
        self._ahead = wall() - time.monotonic_ns() // 1000
        self._measurement: Measurement | None = None
        self._is_skewed = False

    def __call__(self) -> int:
        """Return the time in µs since 1970."""
        return time.monotonic_ns() // 1000 + self._ahead

    def milliseconds(self) -> int:
        """Return the time in ms since 1970."""
        return self() // 1000

    def seconds(self) -> float:
        """Return the time in seconds since 1970."""
        return self() / 1_000_000

    @property
    def skew(self) -> float:
        """The seconds by which this host's clock is ahead of that of Redis; 0 before the first measurement."""
        return (self._wall() - self()) / 1_000_000 if self._measurement else 0.0

    async def measure(self, redis: Redis) -> None:
        """Ask Redis for its time, and set the metric; raises RedisError or OSError."""
        begun = time.monotonic_ns() // 1000
        answer = await load_script("time").run(redis, [self._key], [])
        ended = time.monotonic_ns() // 1000
        measured = Measurement(int(answer) - (begun + ended) // 2, (ended - begun) / 2, ended)
        self._measurement = measured if self._measurement is None else self._measurement.or_better(measured)
        self._ahead = self._measurement.ahead
        self.show()

    async def begin(self, redis: Redis) -> None:
        """Measure if Redis answers at once: a receiver starts without it, too."""
        with suppress(RedisError, OSError):  # a TimeoutError is an OSError
            async with asyncio.timeout(FIRST_INTERVAL):
                await self.measure(redis)

    async def run(self, redis: Redis) -> None:
        """Measure until canceled, and log a skew that is too large. An outage is logged by those whom it concerns."""
        while True:
            with suppress(RedisError, OSError):
                await self.measure(redis)
                self._report()
            await asyncio.sleep(INTERVAL if self._measurement else FIRST_INTERVAL)

    def show(self) -> None:
        """Set the metric; call it again after the gauges have been cleared."""
        gauge("router_clock_skew_seconds", "redis", value=round(self.skew, 3))

    def _report(self) -> None:
        skew, was_skewed = self.skew, self._is_skewed
        self._is_skewed = abs(skew) >= MOST_SKEW
        if self._is_skewed and not was_skewed:
            log("clock.skewed", level="warning", seconds=round(skew, 1))
        elif was_skewed and not self._is_skewed:
            log("clock.agrees", seconds=round(skew, 1))
