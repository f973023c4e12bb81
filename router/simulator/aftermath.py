"""What came of webhooks that were sent: the entries about their customers, read from outside and never as a consumer.

It waits until the workers have settled everything that came in, so that "no entry" is known and not guessed.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final

from router.core.entries import ParticipantData
from router.core.keys import RESOLVER
from router.streams.store.inspect import read_stream
from router.streams.store.watch import find_joined, last_ids, watch

if TYPE_CHECKING:
    from collections.abc import Collection

    from router.core.entries import Entry
    from router.core.keys import Keys
    from router.streams.client.connection import Redis

#: Seconds to wait for the workers.
PATIENCE: Final = 10.0


class Aftermath:
    """`begin` it before sending; what was on the streams by then does not count."""

    def __init__(self, redis: Redis, keys: Keys, position: dict[str, str]) -> None:
        self._redis = redis
        self._keys = keys
        self._position = position
        self._is_settled = False

    @classmethod
    async def begin(cls, redis: Redis, keys: Keys) -> Aftermath:
        """Remember where the streams end now."""
        return cls(redis, keys, await last_ids(redis, keys))

    @property
    def how_long(self) -> str:
        """Say in words how long was waited."""
        return "came of it" if self._is_settled else f"within {PATIENCE:.0f} s"

    async def collect(self, resource_ids: Collection[str], customers: Collection[tuple[str, str]]) -> list[Entry]:
        """Return the entries that these resources caused, or that are about these customers (channel, address)."""
        found: list[Entry] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE), aclosing(watch(self._redis, self._position)) as entries:
                async for entry in entries:
                    if entry is not None:
                        if _is_about(entry, resource_ids, customers):
                            found.append(entry)
                    elif self._is_settled:  # and whatever was committed before that has been read since
                        break
                    else:
                        self._is_settled = await self._has_settled()
        return found

    async def known(self, customers: Collection[tuple[str, str]]) -> list[Entry]:
        """Return the newest `participant.joined` of each customer that is still on the streams."""
        found = [await find_joined(self._redis, self._keys, *customer) for customer in sorted(customers)]
        return [entry for entry in found if entry is not None]

    async def _has_settled(self) -> bool:
        """Tell whether the workers have nothing more to read, and nothing at work."""
        for partition in range(self._keys.partitions):
            state = await read_stream(self._redis, self._keys.inbound(partition))
            groups = [group for group in state.groups if group.name == RESOLVER]
            if not groups or any(group.pending or group.lag != 0 for group in groups):
                return False
        return True


def _is_about(entry: Entry, resource_ids: Collection[str], customers: Collection[tuple[str, str]]) -> bool:
    """Tell whether a resource caused an entry, or its participant came with one (a call) or is one of the customers."""
    data = entry.data
    if data.cause.resource_id in resource_ids:
        return True
    if not isinstance(data, ParticipantData):
        return False
    came_with = {address.channel_id for address in data.participant.addresses}
    return not came_with.isdisjoint(resource_ids) or (data.channel, data.address) in customers
