"""Part 4: the dead-letter budget recovers once events succeed again, for any window and after a restart."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from router.simulator.messages import message
from router.streams.consuming.budget import WINDOW
from tests.siege.deployment import Siege, besieged
from tests.siege.figures import Figure, at_most, exactly
from tests.siege.gate import LOST
from tests.siege.probe import Served, new_customers, serve
from tests.siege.waiting import PATIENCE
from tests.support.accounts import ACCOUNT, OURS
from tests.support.waiting import scaled, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.siege.deployment import Start
    from tests.siege.sizes import Size

#: The customers about whom the API refuses everything, so that their entries fail for good.
_POISON: Final = "+1557{:07d}"
_REFUSED: Final = "+1557"
#: Seconds after the last failure in which the budget has to recover: those for which a failure counts, and some more.
RECOVERY: Final = WINDOW + 30.0
#: Good customers who write before the next look whether the budget has recovered.
BATCH: Final = 10
#: What is tried: the window of the worker, smaller than the number of kept entries or not, and a restart.
CASES: Final = {
    "small window": (20, False),
    "default window": (500, False),
    "small window, restart": (20, True),
}


async def dead_letter_budget(directory: Path, start: Start, size: Size, say: Callable[[str], None]) -> list[Figure]:
    """150 entries fail for good, then 120 good ones a minute come in, and all succeed."""
    figures = []
    for case, (window, is_restarted) in size.some(CASES):
        settings = {"ROUTER_WINDOW": str(window), "ROUTER_BATCH": str(min(window, 200))}
        async with besieged(directory, start, size, **settings) as siege:
            say(f"{case}:")
            found = await _run(siege, size, say, is_restarted=is_restarted)
        figures += [replace(one, what=f"{case}: {one.what}") for one in found]
    return figures


async def _run(siege: Siege, size: Size, say: Callable[[str], None], *, is_restarted: bool) -> list[Figure]:
    poison, rate = size.pick(150, 150, 30), size.pick(2, 10, 50)
    siege.gate.delay = lambda _: LOST  # callbacks would be successes, too
    before = await serve(siege, new_customers(BATCH), rate=rate, patience=PATIENCE)
    await siege.fault(containing=_REFUSED, status=400)
    worker = siege.processes["worker"]
    await asyncio.gather(*[siege.post(_poisoned(number)) for number in range(poison)])
    await until(lambda: worker.find("budget.spent"), PATIENCE)
    begun = time.monotonic()
    say(f"{poison} entries fail, and the budget is spent")
    if is_restarted:
        await siege.stop("worker")
        worker = await siege.start("worker")
        say("the worker was restarted")
    served = await _serve_until(siege, lambda: bool(worker.find("budget.recovered")), rate)
    seconds = time.monotonic() - begun
    has_recovered = bool(worker.find("budget.recovered"))
    say(f"{'recovered' if has_recovered else 'NOT recovered'} after {seconds:.0f} s")
    dead, waiting = await _count_bad(siege, poison)
    say(f"{dead} of the bad entries are dead letters, {waiting} are tried again")
    sent, published = sum(len(one.sent) for one in served), sum(one.number for one in served)
    seconds_of = [second for one in served for second in one.seconds]
    during = Served((), tuple(seconds_of), sum(one.doubled for one in served))
    return [
        exactly("good entries published", before.number, published, sent),
        exactly("... twice", before.doubled, during.doubled, 0),
        at_most("p99 of good entries, ms", before.p99, during.p99, 1000.0),
        exactly("times that the budget recovered", None, len(worker.find("budget.recovered")), 1),
        at_most("recovered after, s", None, seconds if has_recovered else None, RECOVERY),
        exactly("bad entries: dead letters, and those that wait", None, dead + waiting, poison),
    ]


async def _serve_until(siege: Siege, is_over: Callable[[], bool], rate: float) -> list[Served]:
    """Let good customers write until something is so, or for as long as the fault was seen to last."""
    found, end = [], time.monotonic() + scaled(2 * RECOVERY)
    while True:
        found.append(await serve(siege, new_customers(BATCH), rate=rate, patience=PATIENCE))
        if is_over() or time.monotonic() > end:
            return found


async def _count_bad(siege: Siege, number: int) -> tuple[int, int]:
    """Count the dead letters and the entries that wait, once they are all of so many: one may just become the other."""
    dead = waiting = 0

    async def are_all() -> bool:
        nonlocal dead, waiting
        dead, waiting = await siege.count_dead_letters(), await siege.count_unfinished()
        return dead + waiting == number

    with suppress(TimeoutError):
        await until(are_all, PATIENCE, pause=0.2)
    return dead, waiting


def _poisoned(number: int):
    return message(
        "sms",
        account_sid=ACCOUNT,
        sender=_POISON.format(number),
        recipient=OURS,
        body="poison",
        sid=f"SM{(1 << 90) + number:032x}",
    )
