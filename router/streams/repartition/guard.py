"""Writing to one partition under its fence, in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.streams.client.connection import load_script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.core.keys import Keys
    from router.streams.client.connection import Redis

#: Commands and bytes per run: Redis does nothing else meanwhile, for some milliseconds.
MOST: Final = 200
MOST_BYTES: Final = 1_048_576


class Guard:
    """Runs commands in partitions whose fences have the value `fence`; raises ResponseError (FENCED) for others."""

    def __init__(self, redis: Redis, keys: Keys, fence: str) -> None:
        self._redis = redis
        self._keys = keys
        self._fence = fence
        self._waiting: dict[int, list[Any]] = {}
        self._sizes: dict[int, list[int]] = {}

    async def run(self, partition: int, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Run commands of one partition in one step, after those that wait; returns their results."""
        await self._flush(partition)
        args = [word for command in commands for word in (len(command), *command)]
        names = [self._keys.fence(partition)]
        results: list[Any] = await load_script("guarded").run(self._redis, names, [self._fence, *args])
        return results

    async def put(self, partition: int, *command: Any) -> None:
        """Run a command soon, together with others of its partition."""
        waiting = self._waiting.setdefault(partition, [])
        waiting.append(command)
        sizes = self._sizes.setdefault(partition, [0])
        sizes[0] += sum(len(word) for word in command if isinstance(word, bytes | str))
        if len(waiting) >= MOST or sizes[0] >= MOST_BYTES:
            await self._flush(partition)

    async def flush(self) -> None:
        """Run all commands that wait."""
        for partition in list(self._waiting):
            await self._flush(partition)

    async def _flush(self, partition: int) -> None:
        commands = self._waiting.pop(partition, [])
        self._sizes.pop(partition, None)
        if commands:
            await self.run(partition, commands)
