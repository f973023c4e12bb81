"""`python -m tests.chaos`: rounds of chaos, each with its table.

Exit status: 0 every row of every round is true, 1 one is false, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.chaos.run import Round
from tests.chaos.schedule import FULL, SHORT, make_schedule
from tests.support.signals import cancel_on_signals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.schedule import Scale

_SEEDS: Final = 1_000_000


def make_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Run the whole router while its processes are killed, Redis dies and stalls and the API misbehaves;"
        " then compare what was answered 2xx with what is there. tests/chaos/__init__.py describes it.",
        epilog="A seed repeats its schedule: who sends what when, who is killed when. Each round's is one higher.",
    )
    parser.add_argument("--rounds", type=_positive, default=1, metavar="N", help="how many rounds (default: 1)")
    parser.add_argument("--seed", type=int, metavar="N", help="the schedule of the first round (default: any)")
    parser.add_argument("--short", action="store_true", help="the short round that the test suite runs")
    parser.add_argument("--dir", type=Path, default=Path(".state/chaos"), help="where rounds work (.state/chaos)")
    parser.add_argument("--fsync", choices=("always", "everysec"), default="always", help="Redis' appendfsync")
    parser.add_argument("--keep", action="store_true", help="keep the state of rounds without a false row too")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


async def run(arguments: argparse.Namespace) -> bool:
    """Run all rounds; returns whether every row was true."""
    cancel_on_signals()
    first = secrets.randbelow(_SEEDS) if arguments.seed is None else arguments.seed
    scale = SHORT if arguments.short else FULL
    return all([await _round(first + number, scale, arguments) for number in range(arguments.rounds)])


async def _round(seed: int, scale: Scale, arguments: argparse.Namespace) -> bool:
    begun, schedule = time.monotonic(), make_schedule(seed, scale)

    def say(text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - begun:6.1f} s  {text}\n")
        sys.stdout.flush()

    directory = arguments.dir.absolute() / f"{seed}-{time.strftime('%H%M%S')}"
    directory.mkdir(parents=True)
    say(f"seed {seed}, schedule {schedule.digest}: {len(schedule.scenarios)} scenarios, {len(schedule.kills)} kills")
    say(f"its state is in {directory}")
    report = await Round(schedule, directory, say, fsync=arguments.fsync).run()
    sys.stdout.write(report.render() + "\n")
    if report.is_true and not arguments.keep:
        shutil.rmtree(directory)
    else:
        say(f"all logs, and the data of every false row as JSON lines, are in {directory}")
    say(f"seed {seed}, schedule {schedule.digest}: {'every row is true' if report.is_true else 'NOT TRUE'}")
    return report.is_true


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status; everything that was started has been ended by then."""
    arguments = make_parser().parse_args(argv)
    try:
        return 0 if asyncio.run(run(arguments)) else 1
    except asyncio.CancelledError:
        sys.stderr.write("interrupted; everything is ended\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
