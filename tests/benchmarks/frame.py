"""The frame of all measurements: contenders run at the same time and take turns in interleaved rounds of one run.

A shared machine is never the same twice, so nothing is compared with a number from another run: a ratio is computed
within each round, from turns that lie seconds apart, and the median over the rounds counts. The order of turns moves on
by one each round, so that no contender is always first. A measurement decides what a turn is.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from tests.benchmarks.beside import Build

#: The values of one turn by metric; a metric that this machine cannot measure is left out.
Sample = dict[str, float]


class BenchmarkError(Exception):
    """A measurement is invalid: a process did not start, crashed, or gave wrong results."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The length of a run: `rounds` of turns of about `seconds` each, with so many `customers`.

    `beside` is another build, which takes part wherever its processes can do the same; `express` has Node.js and the
    packages of the program for it. `is_large` makes the measurements that are about a million of something reach it.
    """

    rounds: int = 5
    seconds: float = 3.0
    customers: int = 500
    beside: Build | None = None
    express: Build | None = None
    is_large: bool = False

    def of_million(self) -> int:
        """Return the number that stands for a million: a tenth in a usual run, and fewer where turns are short."""
        return 1_000_000 if self.is_large else min(100_000, round(100_000 * self.seconds / 3))


@dataclass(frozen=True, slots=True)
class Contender:
    """A measured program; `take_turn(seconds)` raises BenchmarkError if the turn is invalid."""

    name: str
    label: str
    take_turn: Callable[[float], Awaitable[Sample]]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: a metric, its heading with the unit, and the digits to show."""

    metric: str
    heading: str
    digits: int = 0


@dataclass(frozen=True, slots=True)
class Figure:
    """A result of a run: a metric of the contender `of`, divided by that of `over` if there is one."""

    name: str
    label: str
    metric: str
    of: str
    over: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def target(self) -> str:
        """The bound as text, empty if there is none."""
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else ""

    def is_met(self, value: float) -> bool:
        """Tell whether a value is within the bounds."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


class Opener(Protocol):
    """Starts the contenders of a measurement, and ends them when its block is left."""

    def __call__(self, scale: Scale, /) -> AbstractAsyncContextManager[Sequence[Contender]]:
        """Return the context manager; nothing is started before it is entered."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement: how its contenders are started, and what is printed of their turns.

    `most_rounds` bounds the rounds of one whose turns are long, or alike; only `has_warm_up` has turns to warm up.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    figures: tuple[Figure, ...]
    opened: Opener
    most_rounds: int | None = None
    has_warm_up: bool = True


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several values with the smallest and the largest."""

    median: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        return cls(median(values), min(values), max(values))

    def as_json(self) -> dict[str, float]:
        """Return it as JSON."""
        return {"median": self.median, "min": self.minimum, "max": self.maximum}


@dataclass(slots=True)
class Report:
    """The result of a measurement: the samples of each contender (by name), one per round."""

    measurement: Measurement
    labels: dict[str, str]
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def spread(self, contender: str, metric: str) -> Spread | None:
        """Return the values of a contender for a metric, None if it has none."""
        values = [sample[metric] for sample in self.samples[contender] if metric in sample]
        return Spread.of(values) if values else None

    def has(self, figure: Figure) -> bool:
        """Return whether the contenders of a figure took part."""
        return {figure.of, figure.over} - {None} <= self.samples.keys()

    def figure(self, figure: Figure) -> Spread | None:
        """Return a figure over all rounds: divided within each round, then the median; None if it was not measured."""
        if not self.has(figure):
            return None
        values = [sample.get(figure.metric) for sample in self.samples[figure.of]]
        if figure.over is None:
            known = [value for value in values if value is not None]
            return Spread.of(known) if known else None
        below = [sample.get(figure.metric) for sample in self.samples[figure.over]]
        pairs = zip(values, below, strict=True)
        ratios = [value / under for value, under in pairs if value is not None and under]
        return Spread.of(ratios) if ratios else None

    def as_json(self) -> dict[str, Any]:
        """Return everything, each sample included."""
        return {
            "title": self.measurement.title,
            "contenders": {name: self._contender(name) for name in self.samples},
            "figures": {figure.name: self._figure(figure) for figure in self.measurement.figures},
        }

    def _contender(self, name: str) -> dict[str, Any]:
        metrics = dict.fromkeys(metric for sample in self.samples[name] for metric in sample)
        spreads: Mapping[str, Spread | None] = {metric: self.spread(name, metric) for metric in metrics}
        return {
            "label": self.labels[name],
            "metrics": {metric: spread.as_json() for metric, spread in spreads.items() if spread},
            "rounds": self.samples[name],
        }

    def _figure(self, figure: Figure) -> dict[str, Any]:
        spread = self.figure(figure)
        verdict = {"target": figure.target, "met": figure.is_met(spread.median)} if spread and figure.target else {}
        return {"label": figure.label, **(spread.as_json() if spread else {}), **verdict}


async def measure(measurement: Measurement, scale: Scale, say: Callable[[str], None]) -> Report:
    """Run one measurement; `say` gets lines of progress. Raises BenchmarkError."""
    say(f"{measurement.name}: starting")
    async with measurement.opened(scale) as opened:
        _end_if_cancelled()
        contenders = list(opened)
        report = Report(measurement, {one.name: one.label for one in contenders}, {one.name: [] for one in contenders})
        for contender in contenders if measurement.has_warm_up else ():
            say(f"{measurement.name}: warming up {contender.name}")
            await _take_turn(contender, min(scale.seconds, 1.0))
        rounds = min(scale.rounds, measurement.most_rounds or scale.rounds)
        for number in range(rounds):
            first = number % len(contenders)
            for contender in contenders[first:] + contenders[:first]:
                sample = await _take_turn(contender, scale.seconds)
                report.samples[contender.name].append(sample)
                say(f"{measurement.name}: round {number + 1}/{rounds} {contender.name} {_shown(sample)}")
        say(f"{measurement.name}: ending")
    return report


async def _take_turn(contender: Contender, seconds: float) -> Sample:
    """Take a turn as a task of its own, so that Ctrl-C ends the run at once.

    On Python 3.11 redis-py swallows some cancellations (`asyncio.wait_for` around its writes, where a timeout is set).
    """
    turn = asyncio.ensure_future(contender.take_turn(seconds))
    turn.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        await asyncio.wait({turn})
    finally:
        turn.cancel()
    return turn.result()


def _end_if_cancelled() -> None:
    """Raise CancelledError if a cancellation was swallowed on the way here."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _shown(sample: Sample) -> str:
    return " ".join(f"{metric}={value:,.6g}" for metric, value in sample.items())
