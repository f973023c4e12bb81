"""The order of one subject's entries over all workers.

Within a worker the window keeps the entries of a subject in order. If different workers hold two of them, the later one
must wait: it names its predecessor (`after`, written when it was appended), which is finished once it is neither
pending in the group nor parked. An entry is delivered after its predecessor, so a predecessor that is neither has been
acknowledged: committed, dead-lettered or ignored. The chain leads back to the oldest entry, which waits for none, so
every wait ends; the entries of a dead worker are taken over and finished first.

Order is that of becoming durable in the stream. Known gaps: the last entry of a subject is forgotten after LATEST_LIFE
(router.streams.store.append), even if it still waits; different sources use different subjects for one conversation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from router.streams.client.connection import Redis, load_script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.core.keys import Keys
    from router.streams.delivery import Delivery


class SubjectOrder:
    """The order of subjects within one consumer group."""

    def __init__(self, redis: Redis, keys: Keys, group: str) -> None:
        self._redis = redis
        self._keys = keys
        self._group = group
        self._script = load_script("unfinished")

    async def waiting(self, deliveries: Sequence[Delivery]) -> set[str]:
        """Return the ids of the deliveries whose predecessor is unfinished; predecessors among them do not count.

        One round trip per stream, none for a stream without other predecessors.
        """
        here = {delivery.entry_id for delivery in deliveries}
        behind: dict[str, dict[bytes, list[str]]] = {}
        for delivery in deliveries:
            before = delivery.fields.get(b"after")
            if before is not None and before.decode("ascii", "replace") not in here:
                behind.setdefault(delivery.stream.key, {}).setdefault(before, []).append(delivery.entry_id)
        waiting: set[str] = set()
        for stream, successors in behind.items():
            keys = [stream, self._keys.parked(stream, self._group, "order")]
            unfinished: Any = await self._script.run(self._redis, keys, [self._group, *successors])
            waiting.update(entry_id for before in unfinished for entry_id in successors[before])
        return waiting
