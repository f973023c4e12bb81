"""Part 6: the number of partitions changes under load, and nothing is lost, doubled or overtaken."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING, Final

from router.core.keys import Keys
from tests.chaos.replies import MARK
from tests.harness.commands import run_command
from tests.harness.processes import start_process
from tests.siege.deployment import Siege, besieged
from tests.siege.figures import Figure, exactly, shown
from tests.siege.probe import new_customers, write
from tests.siege.waiting import PATIENCE
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.siege.deployment import Start
    from tests.siege.sizes import Size

PROCESSES: Final = ("receiver", "worker", "worker-2", "ai_agent", "human_agent")
#: Customers whose events wait for the API meanwhile: their numbers begin so.
WAITING: Final = "+1556"
#: The numbers of partitions, one after the other.
NUMBERS: Final = (4, 1)
#: Exit status of a process whose settings are refused.
REFUSED: Final = 2


@dataclass
class _Load:
    """Customers who write in turn, `rate` a second, until `stop`; `sent` has the MessageSids of each in order."""

    siege: Siege
    customers: list[str]
    rate: float
    sent: dict[str, list[str]] = field(default_factory=dict)
    is_over: bool = False

    async def run(self) -> None:
        """Write. A customer writes again once the message before was answered."""
        names: Iterator[str] = cycle(self.customers)
        while not self.is_over:
            customer, begun = next(names), time.monotonic()
            self.sent.setdefault(customer, []).append(await write(self.siege, customer))
            await asyncio.sleep(max(0.0, begun + 1 / self.rate - time.monotonic()))

    @property
    def sids(self) -> list[str]:
        """All MessageSids."""
        return [sid for sids in self.sent.values() for sid in sids]


async def repartitioned(directory: Path, start: Start, size: Size, say: Callable[[str], None]) -> list[Figure]:
    """From 1 to 4 partitions and back, while customers write; the first move is killed on its way and run again."""
    async with besieged(directory, start, size, processes=PROCESSES) as siege:
        load = _Load(siege, new_customers(size.pick(40, 40, 8)), size.pick(60, 40, 30))
        running = asyncio.create_task(load.run())
        figures: list[Figure] = []
        try:
            await siege.watcher.until(lambda: len(siege.watcher.joined) == len(load.customers), PATIENCE)
            await _let_some_wait(siege, load)
            for number in NUMBERS:
                figures += await _move(siege, number, load, say, is_killed=number == NUMBERS[0])
        finally:
            load.is_over = True
            await asyncio.wait([running])
            await siege.clear_faults()
        refused = await run_command("work", environment=siege.environment | {"ROUTER_PARTITIONS": "3"})
        say(f"a worker with another number: status {refused[0]}, {refused[1].strip()[-200:]}")
        return [
            *figures,
            *await _account(siege, load, say),
            exactly("status of a worker with another number", None, refused[0] or 0, REFUSED),
            exactly("... that names the command", None, int("repartition 3" in refused[1]), 1),
        ]


async def _let_some_wait(siege: Siege, load: _Load) -> None:
    """Let customers write two messages each that wait for the API while everything is moved."""
    await siege.fault(containing=WAITING, status=503)
    waiting = [f"{WAITING}{number:07d}" for number in range(len(load.customers))]
    for _ in range(2):
        sids = await asyncio.gather(*[write(siege, one) for one in waiting])
        for customer, sid in zip(waiting, sids, strict=True):
            load.sent.setdefault(customer, []).append(sid)


async def _move(siege: Siege, number: int, load: _Load, say: Callable[[str], None], *, is_killed: bool) -> list[Figure]:
    """Move everything to so many partitions; returns how long that took, and whether all is served afterwards."""
    begun = time.monotonic()
    if is_killed:
        await _kill_on_the_way(siege, number, say)
    status, output = await run_command("repartition", str(number), environment=siege.environment)
    seconds = time.monotonic() - begun
    say(f"repartition {number}: status {status} within {seconds:.1f} s; {output.strip().splitlines()[-1:]}")
    siege.keys = Keys(partitions=number)
    siege.environment["ROUTER_PARTITIONS"] = str(number)
    before = set(load.sids)
    await until(lambda: len(load.sids) > len(before) + len(load.customers), PATIENCE)
    is_heard = await siege.watcher.until_heard(set(load.sids) - before, PATIENCE)
    return [
        exactly(f"to {number}: exit status of repartition", None, -1 if status is None else status, 0),
        Figure(f"to {number}: seconds until it was over", "-", shown(seconds)),
        exactly(f"to {number}: others served afterwards", None, int(is_heard), 1),
    ]


async def _kill_on_the_way(siege: Siege, number: int, say: Callable[[str], None]) -> None:
    """Begin to move, and kill the command as soon as it copies."""
    command = await start_process(siege.directory, "router", "repartition", str(number), **siege.environment)

    async def is_copying() -> bool:
        text = await siege.redis.get(siege.keys.layout()) or b""
        return b"copying" in text or command.returncode is not None

    with suppress(TimeoutError):
        await until(is_copying, PATIENCE)
    await command.kill()
    say(f"the first one was killed; its status is {command.returncode}")


async def _account(siege: Siege, load: _Load, say: Callable[[str], None]) -> list[Figure]:
    """Compare what was sent with what came of it."""
    watcher, sids = siege.watcher, load.sids
    await watcher.until_heard(sids, PATIENCE)
    with suppress(TimeoutError):
        await siege.until_idle()
    texts: Counter[str] = Counter()
    for conversation in await siege.sandbox.conversations():
        texts.update(text for text in await siege.sandbox.texts(conversation["id"]) if text.startswith(MARK))
    say(f"{len(sids):,} messages were sent by {len(load.sent)} customers")
    heard = Counter({sid: len(watcher.heard[sid]) for sid in sids if sid in watcher.heard})
    joined = Counter({one: len(watcher.joined[one]) for one in load.sent if one in watcher.joined})
    entries = len(sids) + len(load.sent)
    misplaced = sum(
        [one for one in watcher.order_of(customer) if one in heard] != [one for one in sent if one in heard]
        for customer, sent in load.sent.items()
    )
    return [
        exactly("customers announced", len(load.sent), joined.total(), len(load.sent)),
        exactly("messages published", len(sids), len(heard), len(sids)),
        exactly("... twice", 0, sum(count > 1 for count in heard.values()), 0),
        exactly("customers whose messages were overtaken", 0, misplaced, 0),
        exactly("entries answered", entries, len(texts), entries),
        exactly("... twice", 0, sum(count > 1 for count in texts.values()), 0),
        exactly("entries left unfinished", 0, await siege.count_unfinished(), 0),
        exactly("webhooks refused or not answered", 0, siege.unanswered, 0),
    ]
