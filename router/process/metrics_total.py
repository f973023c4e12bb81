"""The metrics of several processes added up. What is cumulative never falls, whichever process ends or is replaced.

So a scraper sees no reset (https://prometheus.io/docs/concepts/metric_types/#counter) while the supervisor lives. A
process that is killed takes with it what it counted since it was last heard of; nothing that was shown is among that,
since what is shown comes from here.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from router.metrics import MetricSample

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: What distinguishes the values of a process: all of a sample but its value.
Key = tuple[str, str, tuple[tuple[str, str], ...], bool]


class MetricsTotal:
    """The last known values of each process, and what those that have ended left behind.

    A process is any hashable value; its `name` is the same for all that take its place one after the other.
    """

    def __init__(self) -> None:
        self._past: dict[Key, float] = {}
        self._latest: dict[object, list[MetricSample]] = {}
        self._shown: dict[Key, float] = {}

    def knows(self, process: object) -> bool:
        """Tell whether a process has been heard of, and has not ended."""
        return process in self._latest

    def update(self, process: object, name: str, samples: Iterable[MetricSample]) -> None:
        """Note the present values of a process; those about its memory, CPU and files get a label with its name."""
        self._latest[process] = [_labelled(one, name) for one in samples]

    def end(self, process: object) -> None:
        """Keep what a process has counted; its other values end with it."""
        _add(self._past, (one for one in self._latest.pop(process, ()) if one.is_cumulative))

    def samples(self) -> list[MetricSample]:
        """Return the sums over all processes."""
        sums = dict(self._past)
        _add(sums, chain.from_iterable(self._latest.values()))
        return list(self._never_falling(sums))

    def _never_falling(self, sums: dict[Key, float]) -> Iterator[MetricSample]:
        for key, value in sums.items():
            family, name, labels, is_cumulative = key
            if is_cumulative:  # fractions added in another order may be less by a rounding error, which is a reset
                self._shown[key] = max(value, self._shown.get(key, value))
            yield MetricSample(family, name, labels, self._shown.get(key, value), is_cumulative)


def _labelled(sample: MetricSample, process: str) -> MetricSample:
    if not sample.family.startswith("process_"):
        return sample
    return sample._replace(labels=(*sample.labels, ("process", process)))


def _add(sums: dict[Key, float], samples: Iterable[MetricSample]) -> None:
    for family, name, labels, value, is_cumulative in samples:
        key = family, name, labels, is_cumulative
        sums[key] = sums.get(key, 0.0) + value
