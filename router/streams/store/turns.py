"""Whose turn it is: the order of one subject over all workers.

Within a worker the window keeps the entries of a subject in order. Of two that different workers hold, the later one
must wait: it names its predecessor (`after`, written as it was appended), and that one is finished once it is no longer
pending in the group. An entry is delivered after its predecessor, so one that is not pending has been acknowledged:
it is committed, a dead letter, or ignored. The chain leads back to the oldest entry, which waits for nobody, so what
waits always ends: a dead worker's entries are taken over and finished first.

Order is that of becoming durable in the stream. Known gaps: a subject whose last entry is older than LATEST_LIFE
(router.streams.store.append) and still waits is forgotten; different sources name different subjects for one
conversation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from router.streams.client.connection import Redis, load_script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.streams.delivery import Delivery


class Turns:
    """The turns of one group."""

    def __init__(self, redis: Redis, group: str) -> None:
        self._redis = redis
        self._group = group
        self._script = load_script("unfinished")

    async def waiting(self, deliveries: Sequence[Delivery]) -> set[str]:
        """Return the ids of those whose predecessor is still being worked on; what is here itself counts as in order.

        One round trip for each stream that they come from, none if they have no predecessors elsewhere.
        """
        here = {delivery.entry_id for delivery in deliveries}
        behind: dict[str, dict[bytes, list[str]]] = {}
        for delivery in deliveries:
            before = delivery.fields.get(b"after")
            if before is not None and before.decode("ascii", "replace") not in here:
                behind.setdefault(delivery.stream.key, {}).setdefault(before, []).append(delivery.entry_id)
        waiting: set[str] = set()
        for stream, successors in behind.items():
            pending: Any = await self._script.run(self._redis, [stream], [self._group, *successors])
            waiting.update(entry_id for before in pending for entry_id in successors[before])
        return waiting
