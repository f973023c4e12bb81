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

from typing import TYPE_CHECKING, Any, Final

from router.core.values import replace
from router.streams.client.connection import Redis, load_script
from router.streams.delivery import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from router.core.keys import Keys
    from router.streams.delivery import StreamRef

#: Pending entries per look, and entries whose subject or predecessor is remembered.
_PAGE: Final = 200
_MOST: Final = 2000


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


class UnnamedOrder:
    """The order of subjects in streams whose entries do not name their predecessor, because anybody writes them.

    Entries are delivered in order, so a predecessor that is not finished is pending before this one. Known gap: one
    that is parked between the look at the parked entries and the look at the pending ones is not waited for.
    """

    def __init__(self, redis: Redis, keys: Keys, group: str, subject: Callable[[Delivery], str]) -> None:
        self._redis = redis
        self._group = group
        self._subject = subject
        self._order = SubjectOrder(redis, keys, group)
        #: The subjects of entries that other consumers hold, the latest ones.
        self._subjects: dict[tuple[str, bytes], str] = {}
        #: By entry, the predecessor that it was found to wait for.
        self._before: dict[tuple[str, str], bytes] = {}

    async def is_behind(self, delivery: Delivery, consumer: str) -> bool:
        """Return whether another consumer than `consumer` holds an earlier entry of the subject. Raises RedisError."""
        name = (delivery.stream.key, delivery.entry_id)
        if (before := self._before.pop(name, None)) is None:
            before = await self._find(delivery, consumer)
        if before is None or not await self._order.waiting([replace(delivery, fields={b"after": before})]):
            return False
        self._before[name] = before
        while len(self._before) > _MOST:
            del self._before[next(iter(self._before))]
        return True

    async def _find(self, delivery: Delivery, consumer: str) -> bytes | None:
        """Return the latest pending entry of the subject before a delivery that another consumer holds."""
        stream, subject, found = delivery.stream, self._subject(delivery), []
        summary: Any = await self._redis.xpending(stream.key, self._group)  # as long as there are consumers
        for name in [row["name"] for row in summary["consumers"] if row["name"].decode() != consumer]:
            held = await self._held_by(name, stream.key, before=delivery.entry_id)
            found += [entry_id for entry_id in held if await self._subject_of(stream, entry_id) == subject]
        return max(found, key=_place, default=None)

    async def _held_by(self, consumer: bytes, stream: str, *, before: str) -> list[bytes]:
        found: list[bytes] = []
        start = "-"
        while True:
            rows: Any = await self._redis.xpending_range(
                stream, self._group, min=start, max=f"({before}", count=_PAGE, consumername=consumer
            )
            found += [row["message_id"] for row in rows]
            if len(rows) < _PAGE:
                return found
            start = f"({rows[-1]['message_id'].decode()}"

    async def _subject_of(self, stream: StreamRef, entry_id: bytes) -> str | None:
        name = (stream.key, entry_id)
        if name not in self._subjects:
            rows: Any = await self._redis.xrange(stream.key, entry_id, entry_id)
            if not rows:
                return None
            while len(self._subjects) >= _MOST:
                del self._subjects[next(iter(self._subjects))]
            self._subjects[name] = self._subject(Delivery(stream, entry_id.decode(), rows[0][1]))
        return self._subjects[name]


def _place(entry_id: bytes) -> tuple[int, int]:
    """Return the sort key of a stream id."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number)
