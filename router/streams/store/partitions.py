"""The number of partitions of a namespace. Redis keeps it, so that no process works with another number.

The first process that starts stores its setting. A process whose setting differs is refused at its start: with another
number it would look for claims and conversations in the wrong places, and leave streams that nobody reads. Only
`repartition` changes the number (router.streams.repartition); processes that are running then go on with the new one.

Every script that must not run under a wrong number compares the number of its process with the *fence* of its
partition, and refuses with FENCED. A missing fence refuses nothing: there was no repartition, or Redis lost its data.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from router.core.errors import SettingsError
from router.core.values import Value
from router.streams.client.connection import Redis, RedisError
from router.streams.store.inspect import consumed_streams

if TYPE_CHECKING:
    from router.core.keys import Keys

#: Seconds between two looks at the number.
WATCH_EVERY: Final = 0.5
#: The largest number that data of earlier versions is searched for.
MOST: Final = 1024


class Phase(StrEnum):
    """The progress of a repartition."""

    OPEN = "open"  # none is under way
    STOPPING = "stopping"  # workers and consumers stop; receivers go on
    COPYING = "copying"  # nothing is written but copies at the new places
    SWITCHING = "switching"  # from here on there is no way back
    CLEANING = "cleaning"  # all work with the new number; what is left at the old places is deleted


class Layout(Value):
    """The number of partitions before and after a repartition, equal if none is under way; `mover` runs it."""

    old: int
    new: int
    phase: Phase = Phase.OPEN
    mover: str = ""

    @property
    def is_open(self) -> bool:
        """Whether processes may work, with `new` partitions."""
        return self.phase in {Phase.OPEN, Phase.CLEANING}

    @property
    def text(self) -> str:
        """The value of the key."""
        return str(self.new) if self.phase is Phase.OPEN else f"{self.old}>{self.new} {self.phase} {self.mover}"


def parse_layout(text: bytes) -> Layout:
    """Read the value of the key; raises SettingsError if it is none."""
    numbers, _, rest = text.decode("utf-8", "replace").partition(" ")
    phase, _, mover = rest.partition(" ")
    old, _, new = numbers.partition(">")
    try:
        return Layout(int(old), int(new or old), Phase(phase or Phase.OPEN), mover)
    except ValueError as error:
        problem = f"the number of partitions that Redis keeps is unreadable: {text[:80]!r}"
        raise SettingsError([problem]) from error


async def read_layout(redis: Redis, keys: Keys) -> Layout:
    """Return the layout of a namespace; if Redis has none, store that of its data, else that of `keys`."""
    text: Any = await redis.get(keys.layout())
    if text is None:
        await redis.set(keys.layout(), await _shown(redis, keys), nx=True)
        text = await redis.get(keys.layout())
    return parse_layout(text or b"%d" % keys.partitions)


async def keep_layout(redis: Redis, keys: Keys) -> Layout:
    """Return the layout for a running process; if Redis has lost it, store the number of this process again."""
    text: Any = await redis.get(keys.layout())
    if text is None:
        await redis.set(keys.layout(), keys.partitions, nx=True)
        return Layout(keys.partitions, keys.partitions)
    return parse_layout(text)


def check_partitions(layout: Layout, keys: Keys) -> None:
    """Raise SettingsError unless the setting is the number of partitions, or one of both while the data is moved."""
    wanted = {layout.new} if layout.is_open else {layout.old, layout.new}
    if keys.partitions not in wanted:
        there = " or ".join(map(str, sorted(wanted)))
        problem = (
            f"ROUTER_PARTITIONS is {keys.partitions}, but the data in Redis has {there}: set it to {there}, or move"
        )
        raise SettingsError([f"{problem} the data with `python -m router repartition {keys.partitions}`"])


async def ensure_partitions(redis: Redis, keys: Keys) -> None:
    """Raise SettingsError unless the setting is the number of partitions and no repartition is under way."""
    layout = await read_layout(redis, keys)
    check_partitions(layout, keys)
    if not layout.is_open:
        problem = (
            f"the data is being moved from {layout.old} to {layout.new} partitions: wait until that is over; if it"
        )
        raise SettingsError([f"{problem} was interrupted, run `python -m router repartition {layout.new}` again"])


async def until_open(redis: Redis, keys: Keys) -> int:
    """Return the number of partitions once no repartition is under way. Raises RedisError."""
    layout = await read_layout(redis, keys)
    while not layout.is_open:
        await asyncio.sleep(WATCH_EVERY)
        layout = await read_layout(redis, keys)
    return layout.new


async def until_moved(redis: Redis, keys: Keys) -> None:
    """Return once a repartition has begun, or the number has changed; an outage of Redis is waited out."""
    while True:
        try:
            layout = await keep_layout(redis, keys)
        except (RedisError, OSError):
            pass
        else:
            if not layout.is_open or layout.new != keys.partitions:
                return
        await asyncio.sleep(WATCH_EVERY)


async def _shown(redis: Redis, keys: Keys) -> int:
    """Return the number of partitions that the data shows: earlier versions stored none.

    A worker creates the streams of all its partitions at its start. So a partition with a stream above the setting
    shows a larger number, and one without, beside a first partition that has had events, a smaller one.
    """
    pipeline = redis.pipeline(transaction=False)
    for partition in range(MOST):
        pipeline.exists(*consumed_streams(keys, partition))
    found = [number for number, count in enumerate(await pipeline.execute(), 1) if count]
    largest = max(found, default=0)
    if largest > keys.partitions:
        return largest
    return largest if largest and await _has_history(redis, keys) else keys.partitions


async def _has_history(redis: Redis, keys: Keys) -> bool:
    """Return whether a worker has read events of the first partition."""
    stream = keys.inbound(0)
    if not await redis.exists(stream):
        return False
    info = await redis.xinfo_stream(stream)
    return bool(info["groups"]) and info["last-generated-id"] != b"0-0"
