"""The command line of the consumers: `python -m handlers NAME`, or `participant-router handler NAME`.

Exit status: 0 done, 1 failed, 2 wrong settings or usage.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from typing import TYPE_CHECKING, Any

from handlers.app import HANDLERS, consume, load_settings
from router.core.errors import SettingsError
from router.process.loop import run
from router.process.output import set_up_log
from router.process.terminal import OutputLostError, Parser, complain, show

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence


class ListAction(argparse.Action):
    """The option `--list`: a line for each handler, its name, group and target."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print the lines and end the process with status 0."""
        show(*(f"{name} {row.group} {row.target}" for name, row in HANDLERS.items()))
        parser.exit()


def make_parser(prog: str = "python -m handlers") -> Parser:
    """Return the parser; its help has a line for each handler."""
    width = max(map(len, HANDLERS))
    lines = [
        f"  {name:<{width}}  {(inspect.getdoc(row.make) or '').partition(chr(10))[0]} (target {row.target})"
        for name, row in HANDLERS.items()
    ]
    parser = Parser(
        prog=prog,
        description="Runs one consumer of the participants streams until SIGTERM or SIGINT.",
        epilog="\n".join(["handlers:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--list", action=ListAction, help="print name, group and target of each handler, and exit")
    parser.add_argument("name", metavar="NAME", choices=tuple(HANDLERS), help=f"one of {', '.join(HANDLERS)}")
    return parser


def run_handler(arguments: argparse.Namespace) -> Coroutine[Any, Any, int]:
    """Return the consumer `name`, as the command `handler` of `router`; raises SettingsError."""
    return _start(make_parser("participant-router handler").parse_args(["--", arguments.name]).name)


def _start(name: str) -> Coroutine[Any, Any, int]:
    settings = load_settings()
    set_up_log(process=HANDLERS[name].group, log_format=settings.log_format, level=settings.log_level)
    return consume(name, settings)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one consumer; returns its exit status."""
    try:
        return run(_start(make_parser().parse_args(argv).name))
    except SettingsError as error:
        complain(*error.report(), unmasked=True)
        return 2
    except OutputLostError as error:
        return error.end()


if __name__ == "__main__":
    sys.exit(main())
