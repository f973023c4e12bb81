"""Memory over events: the resident memory of a process, its growth, and the keys in Redis by kind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression
from typing import TYPE_CHECKING, Any, Final

from tests.support.keys import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.streams.client.connection import Redis

#: MiB for each 100,000 events that a process may grow by once it is warm: ten bytes an event.
TOLERANCE: Final = 1.0
#: MiB that it may grow by in a run of any length: pages and pools vary by so much.
NOISE: Final = 4.0
_MIB: Final = 1_048_576
_UNIT: Final = 100_000
#: Keys of one kind that are measured; the mean of more would only be more exact.
_MEASURED: Final = 100


def can_measure() -> bool:
    """Tell whether this system shows the memory of a process."""
    return Path("/proc/self/status").exists()


def resident(pid: int) -> float:
    """Return the resident memory of a process in MiB; raises OSError if it is gone."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0  # a process that has just ended


@dataclass(slots=True)
class Series:
    """The memory of one process over events; one with a `target` (MiB to stay below) must not grow."""

    name: str
    target: float | None = None
    samples: list[tuple[int, float]] = field(default_factory=list)
    warm_at: int | None = None

    def add(self, events: int, held: float) -> None:
        """Add a sample."""
        self.samples.append((events, held))

    def warm(self) -> list[tuple[int, float]]:
        """Return the samples since the process was warm."""
        return [one for one in self.samples if self.warm_at is not None and one[0] >= self.warm_at]

    @property
    def growth(self) -> float:
        """The growth in MiB since the process was warm."""
        warm = self.warm()
        return warm[-1][1] - warm[0][1] if warm else 0.0

    @property
    def slope(self) -> float:
        """The growth in MiB per 100,000 events since the process was warm: the slope of the best line."""
        warm = self.warm()
        if len({events for events, _ in warm}) < 2:
            return 0.0
        return linear_regression(*zip(*warm, strict=True)).slope * _UNIT

    @property
    def is_flat(self) -> bool:
        """Whether the growth is within the tolerance, if there is a target."""
        return self.target is None or self.slope <= TOLERANCE or self.growth <= NOISE

    def row(self) -> list[str]:
        """Return the row of the last table: at the start, warm, at the end, slope, target, verdict."""
        start, end, warm = self.samples[0][1], self.samples[-1][1], self.warm()
        row = [self.name, *(f"{value:.1f}" for value in (start, warm[0][1] if warm else end, end))]
        row.append(f"{self.slope:+.2f}")
        if self.target is None:
            return [*row, "", "not judged"]
        target = f"{self.target:.0f} {'met' if end <= self.target else 'NOT MET'}"
        return [*row, target, "flat" if self.is_flat else "GROWS"]


@dataclass(frozen=True, slots=True)
class Kind:
    """The keys of one kind: their number, and means of a few: bytes, and seconds to live (-1: permanent)."""

    name: str
    keys: int
    size: float
    left: float


def _name_of(key: str) -> str:
    return kind_of(key) or "(other)"


async def count_kinds(redis: Redis, *, most: int = _MEASURED, name_of: Callable[[str], str] = _name_of) -> list[Kind]:
    """Return all kinds of keys, the largest first; looks at every key once and measures `most` of a kind."""
    numbers: Counter[str] = Counter()
    some: dict[str, list[bytes]] = {}
    async for key in redis.scan_iter(count=1000):
        kind = name_of(key.decode("utf-8", "backslashreplace"))
        numbers[kind] += 1
        if numbers[kind] <= most:
            some.setdefault(kind, []).append(key)
    kinds = [await _measure(redis, kind, number, some[kind]) for kind, number in numbers.items()]
    return sorted(kinds, key=lambda kind: -kind.keys * kind.size)


async def _measure(redis: Redis, kind: str, number: int, some: list[bytes]) -> Kind:
    pipeline = redis.pipeline(transaction=False)
    for key in some:
        pipeline.memory_usage(key, samples=0)
        pipeline.ttl(key)
    found: list[Any] = await pipeline.execute()
    sizes, left = [size or 0 for size in found[::2]], found[1::2]
    return Kind(kind, number, sum(sizes) / len(some), sum(left) / len(some))


async def used(redis: Redis) -> float:
    """Return the memory that Redis uses, in MiB."""
    info: dict[str, Any] = await redis.info("memory")
    return float(info["used_memory"]) / _MIB
