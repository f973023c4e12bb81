"""The processes that are alive, as each says of itself every few seconds; in partition 0.

A process that dies is known for a day by its last record; one that ends in order is forgotten, unless it leaves
something behind. Whether a process is alive shows in the time that its record has left: renewing an expiry needs no
memory, which Redis may lack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.core.values import Value
from router.streams.client.scripts import load_script

if TYPE_CHECKING:
    from router.core.keys import Keys
    from router.streams.client.connection import Redis

#: ms after its last record until a process counts as dead.
RECORD_LIFE: Final = 20_000
#: ms for which the name and the last record of a dead process are known.
NAME_LIFE: Final = 86_400_000
#: Names that are kept and read: more than a deployment has.
MOST: Final = 1_000


class Announcement(Value):
    """The last words of a process: its name, when (ms since 1970), and its record; None once that has expired."""

    name: str
    at: int
    record: bytes | None
    is_alive: bool


async def announce(redis: Redis, keys: Keys, name: str, record: bytes) -> None:
    """Note that the process `name` is alive; raises RedisError."""
    await _note(redis, keys, name, record, NAME_LIFE)


async def leave(redis: Redis, keys: Keys, name: str, record: bytes = b"") -> None:
    """Forget a process that ends in order, except for its last record if there is one; raises RedisError."""
    await _note(redis, keys, name, record, NAME_LIFE - RECORD_LIFE)


async def _note(redis: Redis, keys: Keys, name: str, record: bytes, life: int) -> None:
    names = [keys.process(name), keys.processes()]
    await load_script("announce").run(redis, names, [name, record, life, NAME_LIFE, MOST])


async def list_announcements(redis: Redis, keys: Keys) -> list[Announcement]:
    """Return the processes that were alive within the last day, the longest silent ones last."""
    rows: Any = await redis.zrevrange(keys.processes(), 0, MOST - 1, withscores=True)
    if not rows:
        return []
    names = [name.decode("utf-8", "backslashreplace") for name, _ in rows]
    pipeline = redis.pipeline(transaction=False)
    for name in names:
        pipeline.get(keys.process(name))
        pipeline.pttl(keys.process(name))
    found: Any = await pipeline.execute()
    return [
        Announcement(name, int(at), record, is_alive=life > NAME_LIFE - RECORD_LIFE)
        for name, (_, at), record, life in zip(names, rows, found[::2], found[1::2], strict=True)
    ]
