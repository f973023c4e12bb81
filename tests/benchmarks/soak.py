"""`python -m tests.benchmarks.soak`: check that no process uses more memory the longer it runs.

It sends events through real processes (deployment.py), samples the memory of each (memory.py), prints a row from time
to time and a verdict at the end. Exit status: 0 everything is flat, or this system does not show the memory of a
process (which is printed), 1 a process grows, 2 the run was invalid, 130 interrupted.

A process is warm once its bounded caches are full (ignored customers fill them first) and a fifth of the events has
passed. From then on it may grow by TOLERANCE per 100,000 events, or by NOISE in all. The sandbox and Redis are shown
but not judged: the one is not part of a deployment, the other keeps claims until they expire (see the last table).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from router.core.keys import Keys, Target
from tests.benchmarks.deployment import KNOWN, SoakDeployment, running_deployment
from tests.benchmarks.frame import BenchmarkError
from tests.benchmarks.memory import NOISE, TOLERANCE, Kind, Series, can_measure, count_kinds, resident, used
from tests.benchmarks.report import machine
from tests.support.signals import cancel_on_signals

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Processes that must not grow, and the MiB that each should stay below.
TARGETS: Final = {
    "receiver": 90.0,
    "worker": 120.0,
    "ai_agent": 120.0,
    "human_agent": 120.0,
}
SHOWN: Final = ("sandbox", "redis")
#: The share in percent of webhooks from known, ignored and new customers.
MIX: Final = {"known": 65, "ignored": 30, "new": 5}
#: Ignored customers who write before anything is measured: more addresses than the largest cache holds.
CACHED: Final = 36_000
#: The fraction of the events for warming up, and the number of printed rows.
WARMING, ROWS = 0.2, 20


class Soak:
    """One run, until `total` events have come in; `warm_up` ignored customers write first."""

    def __init__(self, deployment: SoakDeployment, total: int, *, chunk: int, warm_up: int) -> None:
        self._deployment = deployment
        self._total = total
        self._chunk = chunk
        self._warm_up = warm_up
        self._begun = time.monotonic()
        self.series = {name: Series(name, TARGETS.get(name)) for name in (*TARGETS, *SHOWN)}

    async def run(self) -> None:
        """Warm up, send, sample; raises BenchmarkError if webhooks are refused or events become dead letters."""
        await self._sample(0)
        say(_head())
        await self._row(0)
        await self._deployment.known(min(KNOWN, self._chunk))
        for _ in range(0, self._warm_up, self._chunk):
            await self._deployment.ignored(min(self._chunk, self._warm_up))
            await self._deployment.settle()
        before = await self._deployment.events()
        events, shown = 0, 0
        while events < self._total:
            await self._send()
            events = await self._deployment.events() - before
            await self._sample(events)
            if events >= WARMING * self._total:
                self._mark_warm(events)
            if events - shown >= self._total / ROWS:
                shown = events
                await self._row(events)
        await self._deployment.settle(waiting=0)
        await self._sample(events)
        if dead_letters := await self._deployment.count_dead_letters():
            raise BenchmarkError(f"{dead_letters} events became dead letters")

    async def _send(self) -> None:
        for name, share in MIX.items():
            await getattr(self._deployment, name)(max(2, self._chunk * share // 100))
        await self._deployment.settle()

    async def _sample(self, events: int) -> None:
        for name, one in self.series.items():
            one.add(events, resident(self._deployment.pids[name]))

    def _mark_warm(self, events: int) -> None:
        for one in self.series.values():
            one.warm_at = events if one.warm_at is None else one.warm_at

    async def _row(self, events: int) -> None:
        redis, keys = self._deployment.redis, Keys()
        streams = [keys.inbound(0), *(keys.participants(0, target) for target in Target)]
        lengths = [str(await redis.xlen(stream)) for stream in streams]
        held = [f"{one.samples[-1][1]:.1f}" for one in self.series.values()]
        pace = events / (time.monotonic() - self._begun)
        cells = [
            f"{events}",
            f"{pace:.0f}",
            *held,
            f"{await used(redis):.0f}",
            f"{await redis.dbsize()}",
            "/".join(lengths),
        ]
        say(_line(cells))


def _head() -> str:
    return _line(["events", "a second", *TARGETS, *SHOWN, "used", "keys", "entries in streams"])


def _line(cells: Sequence[str]) -> str:
    return "".join(f"{cell:>12}" for cell in cells[:-1]) + f"  {cells[-1]}"


def say(text: str) -> None:
    """Print a line at once, because a run is long."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def conclude(series: Sequence[Series], kinds: Sequence[Kind]) -> bool:
    """Print the verdict and the keys in Redis; returns True if everything is flat."""
    heads = ["MiB", "start", "warm", "end", "per 100k", "target", "verdict"]
    for cells in [heads, *(one.row() for one in series)]:
        say("".join(f"{cell:>14}" for cell in cells))
    say(f"flat: no more than {TOLERANCE:g} MiB per 100,000 events once warm, or {NOISE:g} MiB in all\n")
    say(_line(["kind", "keys", "bytes each", "MiB", "seconds left (-1: permanent)"]))
    for kind in kinds:
        say(
            _line(
                [
                    kind.name,
                    str(kind.keys),
                    f"{kind.size:.0f}",
                    f"{kind.keys * kind.size / 1e6:.1f}",
                    f"{kind.left:.0f}",
                ]
            )
        )
    return all(one.is_flat for one in series)


def make_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.soak", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--events", type=int, default=1_000_000, help="events after the warm-up (default: 1000000)")
    parser.add_argument("--chunk", type=int, default=4_000, help="webhooks between two samples (default: 4000)")
    parser.add_argument("--warm-up", type=int, default=CACHED, help=f"ignored customers at first (default: {CACHED})")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all samples there")
    return parser


async def run(arguments: argparse.Namespace) -> int:
    """Run the soak; returns the exit status."""
    cancel_on_signals()
    say(f"{machine()}; {arguments.events} events")
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        async with running_deployment(Path(directory)) as running:
            soak = Soak(running, arguments.events, chunk=arguments.chunk, warm_up=arguments.warm_up)
            await soak.run()
            kinds = await count_kinds(running.redis)
        say(f"\n{running.webhooks} webhooks, {running.closed} conversations closed, none refused, no dead letters\n")
        is_flat = conclude([*soak.series.values()], kinds)
    if arguments.json:
        arguments.json.write_bytes(orjson.dumps({name: one.samples for name, one in soak.series.items()}))
    return 0 if is_flat else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status; everything that was started has been ended by then."""
    arguments = make_parser().parse_args(argv)
    if not can_measure():
        say("skipped: this system has no /proc, where the memory of a process is read")
        return 0
    try:
        return asyncio.run(run(arguments))
    except BenchmarkError as error:
        sys.stderr.write(f"no result: {error}\n")
        return 2
    except asyncio.CancelledError:
        sys.stderr.write("interrupted; everything is ended\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
