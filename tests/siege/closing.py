"""Part 5: a message around the closing of its conversation opens the next one, and is heard and answered there once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tests.chaos.replies import MARK
from tests.siege.deployment import Siege, besieged
from tests.siege.figures import Figure, exactly, shown
from tests.siege.gate import AT_ONCE, LOST, is_closing
from tests.siege.probe import new_customers, serve, write
from tests.siege.sizes import Size
from tests.siege.waiting import PATIENCE
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.siege.deployment import Start

#: Seconds by which the report of a closing is late, None for one that is lost.
CASES: Final = {"report 5 s late": 5.0, "report lost": LOST}
#: Seconds from the closing until the customer writes again.
AFTER: Final = 1.0
#: Scaled seconds in which a lost report is made up for.
RECONCILED: Final = 60.0
#: Others, whose callbacks go on meanwhile.
OTHERS: Final = 5
HANDLERS: Final = ("receiver", "worker", "ai_agent")


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of the messages that were written after the closing: the customers of whom each is true."""

    joined: int
    heard: int
    answered: int
    doubled: int
    seconds: float


async def around_the_closing(directory: Path, start: Start, size: Size, say: Callable[[str], None]) -> list[Figure]:
    """Conversations are closed; the report comes late or never; their customers write at once."""
    number, figures = size.pick(20, 20, 4), []
    async with besieged(directory, start, size, processes=HANDLERS) as siege:
        before = await _close_and_write(siege, number, AT_ONCE, size)
        say(f"reports at once: {before}")
        for case, delay in size.some(CASES):
            during = await _close_and_write(siege, number, delay, size)
            say(f"{case}: {during}")
            found = [
                exactly("customers joined in a next conversation", before.joined, during.joined, number),
                exactly("messages heard there", before.heard, during.heard, number),
                exactly("messages answered there", before.answered, during.answered, number),
                exactly("joined, heard or answered twice", before.doubled, during.doubled, 0),
                Figure("all heard within, s", shown(before.seconds), shown(during.seconds)),
            ]
            figures += [replace(one, what=f"{case}: {one.what}") for one in found]
    return figures


async def _close_and_write(siege: Siege, number: int, delay: float | None, size: Size) -> _Outcome:
    """Have customers write, close their conversations, have them write again, and see what comes of it."""
    watcher, customers = siege.watcher, new_customers(number)
    await serve(siege, customers, rate=number, patience=PATIENCE)
    old = {customer: watcher.joined[customer][0] for customer in customers}
    await siege.until_idle()
    scale = 1.0 if size is not Size.SHORT else 0.2
    closing = set(old.values())

    def rule(event: dict) -> float | None:
        if not is_closing(event) or event["data"]["id"] not in closing:
            return AT_ONCE
        return delay * scale if delay else delay

    siege.gate.delay = rule
    await asyncio.gather(*[siege.sandbox.close_conversation(one) for one in old.values()])
    await asyncio.sleep(AFTER * scale)
    begun = time.monotonic()
    sids = dict(zip(customers, await asyncio.gather(*[write(siege, one, "again") for one in customers]), strict=True))
    others = await serve(siege, new_customers(OTHERS), rate=OTHERS, patience=PATIENCE)
    assert others.number == OTHERS, "others are not served"
    await watcher.until(
        lambda: all(watcher.heard[sid][-1:] == watcher.joined[one][1:2] for one, sid in sids.items()), RECONCILED
    )
    await until(lambda: not siege.gate.pending, PATIENCE)
    seconds = time.monotonic() - begun
    await siege.until_idle()
    return await _look(siege, old, sids, seconds)


async def _look(siege: Siege, old: dict[str, str], sids: dict[str, str], seconds: float) -> _Outcome:
    """Count what became of each customer's message in the conversation after the closed one."""
    found: Counter[str] = Counter()
    for customer, sid in sids.items():
        following = [one for one in siege.watcher.joined[customer] if one != old[customer]]
        heard = Counter(one for one in siege.watcher.heard[sid] if one != old[customer])
        found["joined"] += bool(following)
        found["heard"] += bool(following) and heard[following[0]] > 0
        answers = 0
        if following:
            texts = await siege.sandbox.texts(following[0])
            answers = sum(text.startswith(MARK) for text in texts)
        found["answered"] += answers >= 2  # the announcement and the message
        found["doubled"] += len(following) > 1 or heard.total() > 1 or answers > 2
    return _Outcome(found["joined"], found["heard"], found["answered"], found["doubled"], seconds)
