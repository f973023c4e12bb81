"""Inbound entries of one subject that are processed again: found by the order of the subject, and appended once more.

An entry names the one before it of its subject (`after`), so the newest can be found without an index. The copy of one
whose conversation is gone names that conversation (`gone`). Known gaps: an
entry that has been trimmed ends the search, and so does LATEST_LIFE without an entry of the subject.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.core.keys import checksum
from router.streams.client.connection import Redis, load_script
from router.streams.delivery import Delivery, StreamRef
from router.streams.store.append import LATEST_LIFE

if TYPE_CHECKING:
    from router.core.keys import Keys

#: The field of a copy that names the conversation that is gone.
GONE: Final = b"gone"
#: The most entries of a subject that are looked at.
MOST: Final = 200
#: Seconds for which a repetition is remembered, so that it happens once.
LIFE: Final = 2 * 86_400


class Repeats:
    """The entries of one namespace."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def appended_after(self, account_id: str, subject: str, moment: int) -> list[Delivery]:
        """Return a subject's entries that were appended in the millisecond of `moment` (µs) or later, oldest first."""
        stream, names = self._locate(account_id, subject)
        rows: Any = await load_script("appended_after").run(self._redis, names, [moment // 1000, MOST])
        return [
            Delivery(stream, entry_id.decode(), dict(zip(fields[::2], fields[1::2], strict=True)))
            for entry_id, fields in reversed(rows)
        ]

    async def append_again(self, entry: Delivery, because: str, *, is_gone: bool = False) -> bool:
        """Append an entry behind the newest one of its subject; False if that was done before `because` of the same.

        `because` is the conversation that closed, or that `is_gone`: then the copy says so.
        """
        stream, names = self._locate(entry.text("account"), entry.text("subject"))
        claim = self._keys.seen(stream.partition, f"{entry.text('key')}:{because}")
        args = [entry.entry_id, LATEST_LIFE, LIFE, self._keys.partitions, checksum(entry.text("subject"))]
        args += [because] if is_gone else []
        names += [self._keys.shared_inbound(stream.partition), claim, self._keys.fence(stream.partition)]
        names.append(self._keys.shared(stream.partition))
        return await load_script("append_again").run(self._redis, names, args) is not None

    def _locate(self, account_id: str, subject: str) -> tuple[StreamRef, list[str]]:
        partition = self._keys.partition_of(subject)
        stream = StreamRef(partition, self._keys.inbound(partition))
        return stream, [stream.key, self._keys.latest(partition, account_id, subject)]
