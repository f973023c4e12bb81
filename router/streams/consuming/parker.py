"""Parks entries of a consumer: they leave the window, and what it holds, for Redis (router.streams.store.parking).

If Redis does not answer, it is unknown whether an entry is parked. Then the consumer only lets go of it: if it is still
pending, the claimer takes it up again as a stray. It is never attempted again on the guess that it is not parked.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from router.core.values import replace
from router.logs import describe_fully, log
from router.streams.client.connection import RedisError
from router.streams.store.parking import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from router.streams.consuming.names import EntryNames
    from router.streams.consuming.pending import PendingEntries
    from router.streams.delivery import Delivery, StreamRef
    from router.streams.store.parking import Parking

#: An entry that is parked behind another waits as that does.
BEHIND: Final = Waiting("", "behind an earlier event")


class Parker:
    """Parks deliveries; `streams` are those that may have parked entries, all until the returner has looked.

    `begun` counts what was asked to be parked. `on_due` is called when something was parked that is due at once.
    """

    def __init__(
        self, parking: Parking, streams: Iterable[StreamRef], *, names: EntryNames, pending: PendingEntries
    ) -> None:
        self._parking = parking
        self._names = names
        self._pending = pending
        self.streams = set(streams)
        self.begun = 0
        self.on_due: Callable[[], None] = lambda: None

    async def park(self, deliveries: Sequence[Delivery], waiting: Waiting, *, lane: str | None = None) -> None:
        """Park deliveries in order, in `lane` or each in its own; the consumer lets them go, whatever happens."""
        if not deliveries:
            return
        self.begun += 1
        parts: dict[tuple[StreamRef, str], list[Delivery]] = {}
        for delivery in deliveries:
            name = self._names.lane(delivery) if lane is None else lane
            parts.setdefault((delivery.stream, name), []).append(delivery)
        try:  # all at once: a server that hangs holds up only what is on it
            await asyncio.gather(
                *[self._park(stream, part, replace(waiting, lane=name)) for (stream, name), part in parts.items()]
            )
        finally:
            self._pending.release(deliveries)
        if waiting.delay <= 0:
            self.on_due()

    async def _park(self, stream: StreamRef, deliveries: Sequence[Delivery], waiting: Waiting) -> None:
        self.streams.add(stream)
        try:
            await self._parking.park(stream, self._named(deliveries), waiting)
        except (RedisError, OSError) as error:
            log("parking.failed", level="warning", error=describe_fully(error))

    async def park_behind(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Park those deliveries that are behind a parked one of their subject; returns the others, in order.

        Raises RedisError or OSError: then it is unknown which are parked.
        """
        parts: dict[StreamRef, list[Delivery]] = {}
        for delivery in deliveries:
            if delivery.stream in self.streams:
                parts.setdefault(delivery.stream, []).append(delivery)
        if not parts:
            return list(deliveries)
        left: set[tuple[str, str]] = set()
        for stream, part in parts.items():
            left |= {
                (stream.key, one.entry_id)
                for one in await self._parking.park(stream, self._named(part), BEHIND, is_behind_only=True)
            }
        stays = [one for one in deliveries if one.stream not in parts or (one.stream.key, one.entry_id) in left]
        if len(stays) < len(deliveries):
            staying = {id(one) for one in stays}
            self._pending.release([one for one in deliveries if id(one) not in staying])
        return stays

    def _named(self, deliveries: Sequence[Delivery]) -> list[tuple[str, Delivery]]:
        return [(self._names.subject(one), one) for one in deliveries]
