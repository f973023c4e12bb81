"""The command line of the consumers: `python -m handlers NAME`.

Exit status: 0 done, 1 failed, 2 wrong settings or usage.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from typing import TYPE_CHECKING

from handlers.app import HANDLERS, consume, load_settings
from router.core.errors import SettingsError
from router.process.loop import run
from router.process.output import set_up_log
from router.process.terminal import OutputLostError, Parser, complain

if TYPE_CHECKING:
    from collections.abc import Sequence


def make_parser() -> Parser:
    """Return the parser; its help has a line for each handler."""
    width = max(map(len, HANDLERS))
    lines = [
        f"  {name:<{width}}  {(inspect.getdoc(row.make) or '').partition(chr(10))[0]} (target {row.target})"
        for name, row in HANDLERS.items()
    ]
    parser = Parser(
        prog="python -m handlers",
        description="Runs one consumer of the participants streams until SIGTERM or SIGINT.",
        epilog="\n".join(["handlers:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", choices=tuple(HANDLERS), help=f"one of {', '.join(HANDLERS)}")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one consumer; returns its exit status."""
    try:
        name: str = make_parser().parse_args(argv).name
        settings = load_settings()
        set_up_log(process=HANDLERS[name].group, log_format=settings.log_format, level=settings.log_level)
        return run(consume(name, settings))
    except SettingsError as error:
        complain(*error.report(), unmasked=True)
        return 2
    except OutputLostError as error:
        return error.end()


if __name__ == "__main__":
    sys.exit(main())
