"""Bodies that several inbound entries share: a mail to many mailboxes is stored once, not once per mailbox.

The entries of one webhook refer (`shared`) to the body by its name, a digest of its content; in each partition it is
stored once, by the script that appends the first of them. It is kept as long as anything may need it: a body is removed
once the inbound stream begins after the last entry that refers to it, and the dead letters begin after the last letter
that does. So an entry that is unread, pending, parked or only kept for the retention always has its body, and so does
a dead letter until it is replayed. Where finished entries are deleted one by one, because older ones are parked, their
count (`<name> entries` in the same hash) tells the last one; a body without a count is removed as described above.

Whoever moves inbound entries to another partition copies the bodies of `Keys.shared` and both of its sorted sets there
first (adding to what is there, without the counts), and removes the old ones afterwards. Known gap: a letter that
somebody deletes by hand holds its body until the letters before it are gone too.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from router.streams.client.connection import Redis, load_script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.core.keys import Keys
    from router.streams.delivery import Delivery

#: The field of an entry with the name of its shared body.
SHARED: Final = b"shared"
#: Bodies that a process remembers; each has up to some hundred KiB, usually far less.
REMEMBERED: Final = 32
#: Bodies that one run of the script removes at most.
STEP: Final = 1_000


class SharedBodies:
    """Reads the shared bodies of deliveries; remembers the last ones, since the entries of a mail come together."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._remembered: OrderedDict[bytes, bytes] = OrderedDict()

    async def read(self, deliveries: Sequence[Delivery]) -> dict[bytes, bytes]:
        """Return the shared bodies of deliveries by name, without those that are gone; no round trip without any."""
        sharing = [one for one in deliveries if SHARED in one.fields]
        return await self._read(sharing) if sharing else {}

    async def _read(self, deliveries: Sequence[Delivery]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        wanted: dict[int, set[bytes]] = {}
        for delivery in deliveries:
            name = delivery.fields[SHARED]
            if (body := self._remembered.get(name)) is not None:
                found[name] = body
            else:
                wanted.setdefault(delivery.stream.partition, set()).add(name)
        for partition, names in wanted.items():
            ordered = sorted(names)
            bodies: Any = await self._redis.hmget(self._keys.shared(partition), ordered)
            found.update((name, body) for name, body in zip(ordered, bodies, strict=True) if body is not None)
        for name, body in found.items():
            self._remembered[name] = body
            self._remembered.move_to_end(name)
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        return found


def count_of(name: bytes) -> bytes:
    """Return the field of the hash with the number of inbound entries that refer to a body."""
    return name + b" entries"


def shared_keys(keys: Keys, partition: int) -> list[str]:
    """Return the keys of a partition's shared bodies: the hash, and the sorted sets of inbound entries and letters."""
    return [keys.shared(partition), keys.shared_inbound(partition), keys.shared_dead(partition)]


async def remove_unused(redis: Redis, keys: Keys, partition: int) -> int:
    """Remove the bodies of a partition that nothing refers to any more; returns their number."""
    bodies, of_inbound, of_letters = shared_keys(keys, partition)
    names = [bodies, keys.inbound(partition), of_inbound, keys.dead_letters(partition), of_letters]
    removed: int = 0
    while True:
        reply: Any = await load_script("remove_unused").run(redis, names, [STEP])
        removed += reply[0]
        if reply[1] < STEP:
            return removed
