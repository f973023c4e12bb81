"""The order in which the entries of several streams become one stream, and what each group has done with them.

A group's position in a stream is one id: everything behind it is unread. So entries that a group has finished must not
come behind one that it has not read. Within each old stream they do not; over several streams the entries that nobody
has left unread come first, then those that only other groups have left unread, and those that our own group has not
read come last. Our own group keeps its state exactly. Known gap: groups of others that lag in different streams get
some entries again, as delivery is at least once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from router.streams.store.parking import count_parked

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from router.core.keys import Keys
    from router.streams.client.connection import Redis

EntryId = tuple[int, int]
#: Entries that are read at once.
PAGE: Final = 500
_FIRST: Final[EntryId] = (0, 0)


@dataclass(frozen=True, slots=True)
class SourceGroup:
    """A group of an old stream; `holds`: it has pending entries, `parks`: it has parked ones."""

    name: bytes
    last: EntryId
    holds: bool
    parks: bool


@dataclass(frozen=True, slots=True)
class SourceStream:
    """An old stream; `last` is its last id, of an entry that may be gone."""

    partition: int
    key: str
    groups: dict[bytes, SourceGroup] = field(default_factory=dict)
    last: EntryId = _FIRST


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """An entry, with its consumer and delivery count in each group for which it is pending or parked."""

    source: SourceStream
    entry_id: EntryId
    fields: dict[bytes, bytes]
    pending: dict[bytes, tuple[bytes, int]]

    def is_unread(self, group: bytes) -> bool:
        """Return whether a group has not read it; a group that the stream does not have has nothing to do with it."""
        state = self.source.groups.get(group)
        return state is not None and self.entry_id > state.last


def read_id(text: bytes) -> EntryId:
    """Return an entry id as numbers."""
    millis, _, number = text.partition(b"-")
    return int(millis), int(number)


def write_id(entry_id: EntryId) -> str:
    """Return an entry id as Redis writes it."""
    return f"{entry_id[0]}-{entry_id[1]}"


async def read_source(redis: Redis, keys: Keys, partition: int, key: str) -> SourceStream:
    """Return the state of an old stream; one that does not exist is empty."""
    try:
        rows: Any = await redis.xinfo_groups(key)
        info: Any = await redis.xinfo_stream(key)
    except ResponseError as error:
        if "no such key" in str(error):
            return SourceStream(partition, key)
        raise
    groups = {}
    for row in rows:
        parked = await count_parked(redis, keys, key, row["name"].decode("utf-8", "surrogateescape"))
        groups[row["name"]] = SourceGroup(
            row["name"], read_id(row["last-delivered-id"]), bool(row["pending"]), bool(parked)
        )
    return SourceStream(partition, key, groups, read_id(info["last-generated-id"]))


async def merge(redis: Redis, keys: Keys, sources: Sequence[SourceStream], own: bytes) -> AsyncIterator[SourceEntry]:
    """Yield the entries of all sources in the order of the new stream; `own` is the group of ours that reads it."""
    parts: dict[tuple[bool, int], list[AsyncGenerator[SourceEntry, None]]] = {}
    for source in sources:
        for rank, begin, end in _segments(source, own):
            parts.setdefault(rank, []).append(_read(redis, keys, source, begin, end))
    for rank in sorted(parts):
        async for entry in _by_id(parts[rank]):
            yield entry


def _segments(source: SourceStream, own: bytes) -> list[tuple[tuple[bool, int], EntryId, EntryId]]:
    """Return the parts of a stream (begin excluded, end included) in which the same groups have not read."""
    positions = sorted({group.last for group in source.groups.values()} | {_FIRST})
    ends = [*positions[1:], max(source.last, positions[-1])]
    found = []
    for begin, end in zip(positions, ends, strict=True):
        unread = {group.name for group in source.groups.values() if group.last <= begin}
        found.append(((own in unread, len(unread - {own})), begin, end))
    return [one for one in found if one[1] < one[2]]


async def _read(
    redis: Redis, keys: Keys, source: SourceStream, begin: EntryId, end: EntryId
) -> AsyncGenerator[SourceEntry, None]:
    start = write_id(begin)
    while True:
        rows: Any = await redis.xrange(source.key, min=f"({start}", max=write_id(end), count=PAGE)
        if not rows:
            return
        pending = await _pending(redis, keys, source, rows)
        for entry_id, fields in rows:
            states = {group: held[entry_id] for group, held in pending.items() if entry_id in held}
            yield SourceEntry(source, read_id(entry_id), fields, states)
        start = rows[-1][0].decode()


async def _pending(
    redis: Redis, keys: Keys, source: SourceStream, rows: Any
) -> dict[bytes, dict[bytes, tuple[bytes, int]]]:
    """Return consumer and delivery count of the pending and parked entries of a page, by group."""
    found: dict[bytes, dict[bytes, tuple[bytes, int]]] = {}
    ids = [entry_id for entry_id, _ in rows]
    for group in source.groups.values():
        held = found[group.name] = {}
        if group.holds:
            listed: Any = await redis.xpending_range(source.key, group.name, ids[0], ids[-1], 10 * PAGE)
            held |= {row["message_id"]: (row["consumer"], row["times_delivered"]) for row in listed}
        if group.parks:
            name = keys.parked(source.key, group.name.decode("utf-8", "surrogateescape"), "order")
            scores: Any = await redis.zmscore(name, ids)
            states: Any = await redis.hmget(name.removesuffix("order") + "entries", ids)
            held |= {
                entry_id: (b"", int(state.split(b" ")[1]) if state else 1)
                for entry_id, score, state in zip(ids, scores, states, strict=True)
                if score is not None
            }
    return found


async def _by_id(parts: Sequence[AsyncGenerator[SourceEntry, None]]) -> AsyncIterator[SourceEntry]:
    heads: list[tuple[SourceEntry, AsyncGenerator[SourceEntry, None]]] = []
    for part in parts:
        async for entry in part:
            heads.append((entry, part))
            break
    while heads:
        position = min(range(len(heads)), key=lambda at: heads[at][0].entry_id)
        entry, part = heads.pop(position)
        yield entry
        async for following in part:
            heads.append((following, part))
            break
