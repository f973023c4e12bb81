"""`python -m tests.benchmarks`: run the measurements, print tables and ratios.

Exit status: 0 measured (whatever the figures are), 1 a measurement was invalid, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from tests.benchmarks.agents import AGENTS
from tests.benchmarks.backlogs import BACKLOG
from tests.benchmarks.beside import make_build
from tests.benchmarks.customers import CUSTOMERS
from tests.benchmarks.express import make_express
from tests.benchmarks.frame import BenchmarkError, Measurement, Scale, measure
from tests.benchmarks.handoffs import HANDOFFS
from tests.benchmarks.known import KNOWN
from tests.benchmarks.latency import LATENCY
from tests.benchmarks.pages import PAGES, VIEWS
from tests.benchmarks.placing import PLACING
from tests.benchmarks.processes import GENERATOR, pin, shared_cores
from tests.benchmarks.receiver import RECEIVER
from tests.benchmarks.redis_memory import REDIS_MEMORY
from tests.benchmarks.report import machine, render
from tests.benchmarks.scaling import RECEIVERS, WORKERS
from tests.benchmarks.start import START
from tests.benchmarks.targets import render_targets, rows
from tests.benchmarks.whole import WHOLE
from tests.benchmarks.worker import WORKER
from tests.support.signals import cancel_on_signals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.frame import Report

MEASUREMENTS: Final[tuple[Measurement, ...]] = (
    RECEIVER,
    RECEIVERS,
    WORKER,
    WORKERS,
    KNOWN,
    BACKLOG,
    CUSTOMERS,
    AGENTS,
    WHOLE,
    REDIS_MEMORY,
    LATENCY,
    HANDOFFS,
    PLACING,
    PAGES,
    VIEWS,
    START,
)
#: Measurements in which Express with BullMQ takes part.
WITH_EXPRESS: Final = frozenset({WHOLE.name, REDIS_MEMORY.name})
QUICK: Final = Scale(rounds=2, seconds=0.5)


def make_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    usual = Scale()
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure the router beside the limit of this machine. How to read it: tests/benchmarks/NOTES.md.",
        epilog="measurements: " + "; ".join(f"{one.name} ({one.title})" for one in MEASUREMENTS),
    )
    parser.add_argument("--rounds", type=_positive, help=f"turns of each contender (default: {usual.rounds})")
    parser.add_argument("--seconds", type=_seconds, help=f"approximate seconds of a turn (default: {usual.seconds:g})")
    names = [one.name for one in MEASUREMENTS]
    parser.add_argument("--only", choices=names, action="append", metavar="NAME", help="measure only this; may repeat")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all samples and figures there")
    parser.add_argument("--beside", metavar="COMMIT", help="measure this commit of the project in the same turns")
    parser.add_argument("--large", action="store_true", help="a million of something, where usually it is a tenth")
    parser.add_argument("--quick", action="store_true", help="some minutes in all; the figures are rough")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 60:
        raise argparse.ArgumentTypeError("more than 0, at most 60")
    return value


def scale_of(arguments: argparse.Namespace) -> Scale:
    """Return the scale that the command line asks for."""
    given = {name: getattr(arguments, name) for name in ("rounds", "seconds") if getattr(arguments, name) is not None}
    return replace(QUICK if arguments.quick else Scale(), **given, is_large=arguments.large)


async def run(arguments: argparse.Namespace) -> None:
    """Run the chosen measurements and print them."""
    cancel_on_signals()
    begun = time.monotonic()

    def say(text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - begun:6.1f} s  {text}\n")

    scale = scale_of(arguments)
    if arguments.beside:
        scale = replace(scale, beside=make_build(arguments.beside, say))
    if not arguments.only or set(arguments.only) & WITH_EXPRESS:
        scale = replace(scale, express=make_express(say))
    pin(os.getpid(), GENERATOR)
    results: dict[str, Any] = {"machine": machine(), "rounds": scale.rounds, "seconds": scale.seconds}
    results |= {"cores": shared_cores(), "measurements": {}}
    reports: dict[str, Report] = {}
    sys.stdout.write(f"{results['machine']}; {scale.rounds} rounds of {scale.seconds:g} s: median (min .. max)\n")
    for measurement in MEASUREMENTS:
        if arguments.only and measurement.name not in arguments.only:
            continue
        report = await measure(measurement, scale, say)
        reports[measurement.name], results["measurements"][measurement.name] = report, report.as_json()
        sys.stdout.write(render(report) + "\n")
        sys.stdout.flush()
    results["targets"] = rows(reports, MEASUREMENTS)
    sys.stdout.write(render_targets(results["targets"]) + "\n")
    if arguments.json:
        arguments.json.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status; everything that was started has been ended by then."""
    arguments = make_parser().parse_args(argv)
    try:
        asyncio.run(run(arguments))
    except BenchmarkError as error:
        sys.stderr.write(f"no result: {error}\n")
        return 1
    except asyncio.CancelledError:
        sys.stderr.write("interrupted; everything is ended\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
