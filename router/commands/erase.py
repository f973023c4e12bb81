"""`python -m router erase ADDRESS`: removes what is kept of a customer, and says what was found where.

Exit status: 0 erased, or nothing is left to be erased; 1 something could not be erased yet; 2 wrong usage.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from router.commands.connected import connected
from router.core.erasing import read_customer
from router.core.errors import QueryError
from router.operations.erase import Erasure
from router.process.terminal import complain, show, show_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from router.core.erasing import ErasureReport

#: Seconds between two lines about the progress.
EVERY: Final = 2.0


async def run_erase(arguments: argparse.Namespace) -> int:
    """Erase a customer, or show what would be erased; returns the exit status: 2 if --yes is missing."""
    is_dry_run = arguments.dry_run or not arguments.yes
    told_at = time.monotonic()

    def say(text: str) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= EVERY:
            told_at = time.monotonic()
            complain(text)

    try:
        customer = read_customer(arguments.address)
        async with connected() as (redis, settings):
            report = await Erasure(redis, settings, customer, is_dry_run=is_dry_run, say=say).run()
    except QueryError as error:
        complain(str(error), unmasked=True)
        return 2
    if arguments.json:
        show_json(report.to_json())
    else:
        show(*_as_lines(report, is_asking=not (arguments.dry_run or arguments.yes)))
    if report.found and is_dry_run and not arguments.dry_run:
        return 2
    return 0 if report.is_done else 1


def _as_lines(report: ErasureReport, *, is_asking: bool) -> Iterator[str]:
    if report.found:
        yield f"{'where':<28} {'found':>7}" + ("" if report.is_dry_run else f" {'erased':>7}")
    for place in report.places.values():
        if place.found:
            erased = "" if report.is_dry_run else f" {place.erased:>7}"
            yield f"{place.where:<28} {place.found:>7}{erased}"
    yield from (f"note: {note}" for note in report.notes)
    if not report.found:
        yield (
            "nothing is kept of this address" if report.is_done else "nothing was found: see the notes, and erase again"
        )
    elif is_asking:
        yield "nothing was erased: give --yes to erase all of this for good"
    elif report.is_dry_run:
        yield "nothing was erased: a dry run"
    else:
        yield "erased" if report.is_done else "erased in part: see the notes, and erase again"
