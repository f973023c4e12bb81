"""The outcome of webhooks that were sent: the entries about their customers, read without joining a consumer group.

It waits until the workers have processed all inbound entries, so that "no entry" is a fact and not a timeout.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from router.core.entries import ParticipantData
from router.core.keys import RESOLVER
from router.streams.store.inspect import read_stream
from router.streams.store.watch import find_joined, last_ids, participant_streams, watch

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from router.core.entries import Entry
    from router.core.keys import Keys
    from router.simulator.scenario import ScenarioStep
    from router.streams.client.connection import Redis

#: Seconds to wait for the workers.
PATIENCE: Final = 10.0


class OutcomeReader:
    """Reads the entries that follow on webhooks; `begin` it before sending, so that older entries are left out."""

    def __init__(self, redis: Redis, keys: Keys, position: dict[str, str]) -> None:
        self._redis = redis
        self._keys = keys
        self._position = position
        self._is_settled = False

    @classmethod
    async def begin(cls, redis: Redis, keys: Keys) -> OutcomeReader:
        """Start at the present end of the streams."""
        return cls(redis, keys, await last_ids(redis, participant_streams(keys)))

    async def collect(self, steps: Sequence[ScenarioStep]) -> list[Entry]:
        """Return the entries that the resources of these steps caused, or that are about their customers."""
        resource_ids, customers = {step.webhook.resource_id for step in steps}, _customers_of(steps)
        found: list[Entry] = []
        last = time.monotonic() + PATIENCE  # no cancellation, which a client of Redis may lose (router.tasks)
        async with aclosing(watch(self._redis, self._position)) as reads:
            async for rows in reads:
                for row in rows:
                    entry = row.entry()
                    if entry is not None and _is_about(entry, resource_ids, customers):
                        found.append(entry)
                # settled before this read, so it has returned all
                if (not rows and self._is_settled) or time.monotonic() >= last:
                    break
                self._is_settled = self._is_settled or (not rows and await self._has_settled())
        return found

    async def find_known(self, steps: Sequence[ScenarioStep]) -> list[Entry]:
        """Return the newest `participant.joined` of each customer of these steps that is still on the streams."""
        found = [await find_joined(self._redis, self._keys, *customer) for customer in sorted(_customers_of(steps))]
        return [entry for entry in found if entry is not None]

    async def _has_settled(self) -> bool:
        """Tell whether the workers have no inbound entry left to read, none pending and none parked."""
        for partition in range(self._keys.partitions):
            state = await read_stream(self._redis, self._keys, self._keys.inbound(partition))
            groups = [group for group in state.groups if group.name == RESOLVER]
            if not groups or any(group.pending or group.parked or group.lag != 0 for group in groups):
                return False
        return True


def _customers_of(steps: Sequence[ScenarioStep]) -> set[tuple[str, str]]:
    """Return the customers of steps, each as channel and address."""
    return {(step.customer.channel, step.customer.value) for step in steps}


def _is_about(entry: Entry, resource_ids: Collection[str], customers: Collection[tuple[str, str]]) -> bool:
    """Tell whether a resource caused the entry or is on its participant (a call), or the participant is a customer."""
    data = entry.data
    if data.cause.resource_id in resource_ids:
        return True
    if not isinstance(data, ParticipantData):
        return False
    channel_ids = {address.channel_id for address in data.participant.addresses}
    return not channel_ids.isdisjoint(resource_ids) or (data.channel, data.address) in customers
