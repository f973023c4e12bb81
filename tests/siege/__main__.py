"""`python -m tests.siege`: every run of the siege, each with its table.

Exit status: 0 every target is met, 1 one is not, 2 a run broke off, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from tests.benchmarks.report import machine
from tests.harness.processes import start_process
from tests.siege.figures import summarize
from tests.siege.runs import BY_NAME, RUNS
from tests.siege.sizes import Size
from tests.support.signals import cancel_on_signals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.siege.figures import Report
    from tests.siege.runs import Run

OK, FAILED, BROKEN, INTERRUPTED = 0, 1, 2, 130
_WIDTH: Final = max(len(one.name) for one in RUNS)


def make_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    listed = "\n".join(f"  {one.name.ljust(_WIDTH)}  {one.title}" for one in RUNS)
    parser = argparse.ArgumentParser(
        prog="python -m tests.siege",
        description="Run the whole router as real processes while something lasts, and print what others notice of it.",
        epilog=f"runs:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", type=_run_name, metavar="NAME", help="only these runs")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="fewer events: a few minutes in all")
    size.add_argument("--short", action="store_true", help="the form that the test suite runs; its times mean nothing")
    parser.add_argument("--dir", type=Path, default=Path(".state/siege"), help="where runs work (.state/siege)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures there")
    return parser


def _run_name(text: str) -> str:
    if text not in BY_NAME:
        raise argparse.ArgumentTypeError(f"no run {text!r}; there are {', '.join(BY_NAME)}")
    return text


async def run(arguments: argparse.Namespace) -> int:
    """Run what was asked for; returns the exit status."""
    cancel_on_signals()
    size = Size.QUICK if arguments.quick else Size.SHORT if arguments.short else Size.FULL
    chosen = [one for one in RUNS if not arguments.names or one.name in arguments.names]
    sys.stdout.write(f"{machine()}; {size}\n")
    reports: list[Report] = []
    broken = False
    for one in chosen:
        report = await _run(one, size, arguments.dir.absolute())
        broken |= report is None
        if report is not None:
            reports.append(report)
            sys.stdout.write(report.render() + "\n")
            sys.stdout.flush()
    sys.stdout.write(f"\n{summarize(reports)}\n")
    if arguments.json:
        arguments.json.write_bytes(orjson.dumps(reports, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return BROKEN if broken else FAILED if any(one.failures for one in reports) else OK


async def _run(one: Run, size: Size, directory: Path) -> Report | None:
    """Carry out one run; None if it broke off. Its folder is kept if anything failed."""
    folder = directory / f"{one.name}-{time.strftime('%H%M%S')}"
    folder.mkdir(parents=True)
    begun = time.monotonic()

    def say(text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - begun:6.1f} s  {one.name}: {text}\n")
        sys.stdout.flush()

    try:
        report = await one.run(folder, functools.partial(start_process, folder), size, say)
    except Exception:  # noqa: BLE001 - the other runs are worth their figures all the same
        say(f"broke off; all logs are in {folder}")
        traceback.print_exc()
        return None
    if report.failures:
        say(f"all logs are in {folder}")
    else:
        shutil.rmtree(folder)
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status; everything that was started has been ended by then."""
    arguments = make_parser().parse_args(argv)
    try:
        return asyncio.run(run(arguments))
    except asyncio.CancelledError:
        sys.stderr.write("interrupted; everything is ended\n")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
