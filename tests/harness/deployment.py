"""A deployment as seen from outside: what it has published, and what it has still to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from router.core.keys import RESOLVER, Keys, Target
from router.streams.store import parking
from tests.support.waiting import until

if TYPE_CHECKING:
    from router.streams.client.connection import Redis
    from tests.harness.sandbox import SandboxClient

#: Each stream of one partition with the group that reads it, in the order in which events pass them.
GROUPS: Final = (
    (Keys().inbound(0), RESOLVER),
    *((Keys().participants(0, target), str(target)) for target in Target),
)


#: Everything in one step: an entry that is parked or brought back meanwhile must be counted.
_COUNT: Final = """
local prefix, name = string.match(KEYS[1], '^(.*}):(.*)$')
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if groups.err or #groups == 0 then
  return 1
end
local count = 0
for _, row in ipairs(groups) do
  local group = {}
  for at = 1, #row, 2 do
    group[row[at]] = row[at + 1]
  end
  local parked = prefix and redis.call('ZCARD', prefix .. ':parked:' .. name .. ':' .. group.name .. ':order') or 0
  count = count + group.pending + (group.lag or 1) + parked
end
return count
"""


async def count_unfinished(redis: Redis, *streams: str) -> int:
    """Count the entries that are unread, pending or parked in any group; a stream without a group counts as one.

    The stream of a baseline has no parked ones.
    """
    numbers: list[Any] = [await redis.eval(_COUNT, 1, stream) for stream in streams]
    return sum(numbers)


async def count_parked(redis: Redis, stream: str, group: str = RESOLVER) -> int:
    """Count the parked entries of a group of any namespace."""
    return await parking.count_parked(redis, Keys(stream.partition(":{")[0]), stream, group)


class Deployment:
    """`redis` and `sandbox` are what the components share; `keys` names the streams."""

    def __init__(self, redis: Redis, sandbox: SandboxClient, keys: Keys | None = None) -> None:
        self.redis, self.sandbox, self.keys = redis, sandbox, keys or Keys()

    @property
    def inbound_streams(self) -> list[str]:
        return [self.keys.inbound(one) for one in range(self.keys.partitions)]

    @property
    def participants_streams(self) -> list[str]:
        return [self.keys.participants(one, target) for one in range(self.keys.partitions) for target in Target]

    async def is_idle(self, *streams: str) -> bool:
        """Tell whether every group of these streams, or of all, has finished with all entries."""
        return not await count_unfinished(self.redis, *(streams or (*self.inbound_streams, *self.participants_streams)))

    async def until_idle(self, *streams: str) -> None:
        """Wait until it is."""
        await until(lambda: self.is_idle(*streams))

    async def until_quiet(self) -> None:
        """Wait until nothing is left to do and nothing more comes: what the processes did may lead to callbacks."""

        async def is_quiet() -> bool:
            before = await self._added()
            if not await self.is_idle() or (await self.sandbox.ask("GET", "/sandbox/callbacks"))["pending"]:
                return False
            return await self._added() == before

        await until(is_quiet)

    async def _added(self) -> list[int]:
        """Return how many entries each inbound stream has ever had."""
        rows: list[Any] = [await self.redis.xinfo_stream(stream) for stream in self.inbound_streams]
        return [int(row["entries-added"]) for row in rows]

    async def published(self) -> list[dict[str, Any]]:
        """Return all events of the participants streams, stream by stream."""
        rows = [row for stream in self.participants_streams for row in await self.redis.xrange(stream)]
        return [orjson.loads(fields[b"event"]) for _, fields in rows]

    async def count_dead_letters(self) -> int:
        return sum([await self.redis.xlen(self.keys.dead_letters(one)) for one in range(self.keys.partitions)])
