"""The processes that are alive, as each says of itself every few seconds; in partition 0.

A process that dies is known for a day by its name and the time of its last words; one that ends in order is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from router.streams.client.scripts import load_script

if TYPE_CHECKING:
    from router.core.keys import Keys
    from router.streams.client.connection import Redis

#: ms until the record of a process that says nothing more expires.
RECORD_LIFE: Final = 20_000
#: ms for which the name of a dead process is known.
NAME_LIFE: Final = 86_400_000
#: Names that are read: more than a deployment has.
MOST: Final = 1_000


@dataclass(frozen=True, slots=True)
class Announcement:
    """The last words of a process: its name, when (ms since 1970), and its record; None once that has expired."""

    name: str
    at: int
    record: bytes | None


async def announce(redis: Redis, keys: Keys, name: str, record: bytes) -> None:
    """Note that the process `name` is alive; raises RedisError."""
    names = [keys.process(name), keys.processes()]
    await load_script("announce").run(redis, names, [name, record, RECORD_LIFE, NAME_LIFE])


async def leave(redis: Redis, keys: Keys, name: str) -> None:
    """Forget a process that ends in order; raises RedisError."""
    await announce(redis, keys, name, b"")


async def list_announcements(redis: Redis, keys: Keys) -> list[Announcement]:
    """Return the processes that were alive within the last day, the longest silent ones last."""
    rows: Any = await redis.zrevrange(keys.processes(), 0, MOST - 1, withscores=True)
    if not rows:
        return []
    names = [name.decode("utf-8", "backslashreplace") for name, _ in rows]
    records: Any = await redis.mget([keys.process(name) for name in names])
    return [Announcement(name, int(at), record) for name, (_, at), record in zip(names, rows, records, strict=True)]
