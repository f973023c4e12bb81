"""Part 7: a consumer group of ours that is destroyed begins after what it had finished: nothing happens twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from tests.chaos.replies import MARK
from tests.harness.deployment import GROUPS
from tests.siege.deployment import Siege, besieged
from tests.siege.figures import Figure, exactly
from tests.siege.probe import new_customers, serve, write
from tests.siege.waiting import PATIENCE
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.siege.deployment import Start
    from tests.siege.sizes import Size

PROCESSES: Final = ("receiver", "worker", "ai_agent", "human_agent")
#: Events that wait for the API while the groups are destroyed: their customers' numbers begin so.
WAITING: Final = "+1556"
#: Messages a second while customers are announced.
RATE: Final = 20.0


@dataclass(frozen=True, slots=True)
class _State:
    """What a second processing would change."""

    conversations: int
    open_conversations: int
    answers: int
    announcements: int
    messages: int


async def destroyed_groups(directory: Path, start: Start, size: Size, say: Callable[[str], None]) -> list[Figure]:
    """Half of the conversations are closed; then the groups are destroyed, while further events wait for the API."""
    number = size.pick(40, 20, 6)
    async with besieged(directory, start, size, processes=PROCESSES) as siege:
        customers = new_customers(number)
        await serve(siege, customers, rate=RATE, patience=PATIENCE)
        await siege.until_idle()
        for customer in customers[: number // 2]:
            await siege.sandbox.close_conversation(siege.watcher.joined[customer][0])
        await siege.watcher.until(lambda: len(siege.watcher.closed) == number // 2, PATIENCE)
        await siege.until_idle()
        await siege.fault(containing=WAITING, status=503)
        waiting = {f"{WAITING}{one:07d}" for one in range(number)}
        sids = await asyncio.gather(*[write(siege, one) for one in sorted(waiting)])
        before = await _read(siege, waiting)
        say(f"before: {before}")
        await asyncio.gather(*[_destroy(siege, stream, group, say) for stream, group in GROUPS])
        later = await serve(siege, new_customers(number), rate=RATE, patience=PATIENCE)
        await siege.clear_faults()
        await siege.watcher.until_heard(sids, PATIENCE)
        await siege.until_idle()
        during = await _read(siege, waiting | set(later.customers))
        say(f"after: {during}")
        names = [field.name for field in fields(_State)]
        pairs = {name: (getattr(before, name), getattr(during, name)) for name in names}
        same = [exactly(name.replace("_", " "), one, other, one) for name, (one, other) in pairs.items()]
        return [
            *same,
            exactly("later messages published", number, later.number, number),
            exactly("messages published that waited", number, _once(siege, sids), number),
            exactly("dead letters", 0, await siege.count_dead_letters(), 0),
        ]


async def _destroy(siege: Siege, stream: str, group: str, say: Callable[[str], None]) -> None:
    """Destroy a group, as an operator might, and wait until its consumer reads again."""
    assert await siege.redis.xgroup_destroy(stream, group)
    say(f"group {group} is destroyed")

    async def is_back() -> bool:
        return any(row["name"].decode() == group and row["consumers"] for row in await siege.redis.xinfo_groups(stream))

    await until(is_back, PATIENCE)


def _once(siege: Siege, sids: list[str]) -> int:
    """Count the messages that were published, and once."""
    return sum(len(siege.watcher.heard[one]) == 1 for one in sids if one in siege.watcher.heard)


async def _read(siege: Siege, without: set[str]) -> _State:
    """Read what there is of all customers but some."""
    found: Counter[str] = Counter()
    for conversation in await siege.sandbox.conversations():
        addresses = {one["address"] for each in conversation["participants"] for one in each["addresses"]}
        if addresses & without:
            continue
        found["conversations"] += 1
        found["open"] += conversation["status"] != "CLOSED"
        found["answers"] += sum(text.startswith(MARK) for text in await siege.sandbox.texts(conversation["id"]))
    joined = sum(len(places) for one, places in siege.watcher.joined.items() if one not in without)
    heard = sum(len(siege.watcher.order_of(one)) for one in siege.watcher.joined if one not in without)
    return _State(found["conversations"], found["open"], found["answers"], joined, heard)
