"""Divides the streams and sets of the old partitions anew, beside the old ones, and puts them in their places.

A divided stream has all entries that the old ones still hold, finished ones included, with their ids unless another
entry has the same one. Each group finds there what it has read and what is pending. What is parked, and what our groups
have pending, is pending for the consumer MOVER, whose end counts as no crash: the next consumer takes it over. How
often entries have crashed a process, and which the dead-letter budget has kept, is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.core.errors import UnusableError
from router.core.keys import COMMANDER, RESOLVER, Keys, Target, progress
from router.core.placement import partition_of
from router.core.routing.commands import read_closed
from router.streams.consuming.groups import note_progress
from router.streams.consuming.poison_isolation import COUNTS_LIFE
from router.streams.repartition.merging import EntryId, SourceEntry, SourceGroup, merge, read_source, write_id
from router.streams.store.append import LATEST_LIFE
from router.streams.store.dead_letters import STREAM
from router.streams.store.parking import PARTS
from router.streams.store.shared_bodies import SHARED, count_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.streams.client.connection import Redis
    from router.streams.repartition.guard import Guard

#: The consumer for which entries are pending until a living one takes them over.
MOVER: Final = "repartition"
#: The streams of one partition by name, with the group of ours that reads each.
STREAMS: Final[dict[str, str]] = {
    "inbound": RESOLVER,
    **{f"participants:{target}": str(target) for target in Target},
    "commands": COMMANDER,
    "dead-letters": "",
}
SETS: Final = ("active", "sweeps", "timers")
_PAGE: Final = 500


def stream_key(keys: Keys, partition: int, name: str) -> str:
    """Return the key of one of STREAMS or SETS."""
    kind, _, target = name.partition(":")
    if target:
        return keys.participants(partition, target)
    makers = {
        "inbound": keys.inbound,
        "commands": keys.commands,
        "dead-letters": keys.dead_letters,
        "active": keys.active,
        "sweeps": keys.sweeps,
        "timers": keys.timers,
    }
    return makers[kind](partition)


@dataclass(slots=True)
class _NewStream:
    """A stream that is being written; `begins`: the position of each group that has unread entries, with its number."""

    partition: int
    last: EntryId = (0, 0)
    count: int = 0
    begins: dict[bytes, tuple[EntryId, int]] = field(default_factory=dict)
    #: By account and subject: the last entry that is not finished.
    unfinished: dict[int, str] = field(default_factory=dict)

    def next_id(self, wanted: EntryId) -> EntryId:
        """Return the id of the next entry: the wanted one if it is still free."""
        self.last = wanted if wanted > self.last else (self.last[0], self.last[1] + 1)
        return self.last


class Division:
    """Divides the data of `old` partitions among those of `new`; `say` is called with the entries of a stream so far.

    `effects` maps the id of each entry of the participants streams and dead letters to its partition.
    """

    def __init__(self, redis: Redis, guard: Guard, old: Keys, new: Keys, say: Callable[[str, int], None]) -> None:
        self._redis = redis
        self._guard = guard
        self._old = old
        self._new = new
        self._say = say
        self.effects: dict[bytes, int] = {}

    async def divide(self, name: str) -> None:
        """Write the new streams of one name beside the old ones, from the beginning."""
        own = STREAMS[name].encode()
        sources = [
            await read_source(self._redis, self._old, partition, stream_key(self._old, partition, name))
            for partition in range(self._old.partitions)
        ]
        groups = sorted({group for source in sources for group in source.groups})
        if own in groups:  # a worker that was starting may have made it in some of the streams only
            for source in sources:
                source.groups.setdefault(own, SourceGroup(own, (0, 0), holds=False, parks=False))
        written = [_NewStream(partition) for partition in range(self._new.partitions)]
        for stream in written:
            await self._begin(stream, name, groups)
        total = 0
        async for entry in merge(self._redis, self._old, sources, own):
            await self._write(written[self._place(entry, name)], name, entry, own, groups)
            total += 1
            self._say(name, total)
        last = max((source.last for source in sources), default=(0, 0))
        for stream in written:
            await self._end(stream, name, groups, last)
        await self._guard.flush()

    async def divide_set(self, name: str) -> None:
        """Write the new sets of one name beside the old ones, from the beginning."""
        for partition in range(self._new.partitions):
            await self._guard.put(partition, "DEL", self._new.moving(partition, name))
        life = 0  # of timers, which never expire
        for partition in range(self._old.partitions):
            key, start = stream_key(self._old, partition, name), 0
            life = max(life, await self._redis.pttl(key))
            while True:
                rows: Any = await self._redis.zrange(key, start, start + _PAGE - 1, withscores=True)
                start += len(rows)
                if not rows:
                    break
                for member, score in rows:
                    target = partition_of(member.partition(b" ")[2], self._new)
                    await self._guard.put(target, "ZADD", self._new.moving(target, name), int(score), member)
        for partition in range(self._new.partitions if life else 0):
            await self._guard.put(partition, "PEXPIRE", self._new.moving(partition, name), life)
        await self._guard.flush()

    async def _begin(self, stream: _NewStream, name: str, groups: list[bytes]) -> None:
        key = self._new.moving(stream.partition, name)
        commands: list[list[Any]] = [["DEL", key], ["XGROUP", "CREATE", key, MOVER, "0", "MKSTREAM"]]
        commands += [["XGROUP", "CREATE", key, group, "0"] for group in groups if group != MOVER.encode()]
        if MOVER.encode() not in groups:
            commands.append(["XGROUP", "DESTROY", key, MOVER])  # the stream stays
        await self._guard.run(stream.partition, commands)

    def _place(self, entry: SourceEntry, name: str) -> int:
        """Return the new partition of an entry; one that names no owner goes by its old partition."""
        fields = entry.fields
        subject = fields.get(b"subject") if b"subject" in fields else _conversation(fields)
        if name == "commands":
            subject = _owner(fields)
        if subject is None:
            return entry.source.partition % self._new.partitions
        partition = partition_of(subject, self._new)
        if name != "inbound" and b"id" in fields:
            self.effects[fields[b"id"]] = partition
        return partition

    async def _write(self, stream: _NewStream, name: str, entry: SourceEntry, own: bytes, groups: list[bytes]) -> None:
        before = stream.last
        entry_id = stream.next_id(entry.entry_id)
        key, text = self._new.moving(stream.partition, name), write_id(entry_id)
        fields = self._fields(stream, name, entry, own, text)
        await self._guard.put(stream.partition, "XADD", key, text, *[part for pair in fields.items() for part in pair])
        for group in groups:
            if entry.is_unread(group):
                stream.begins.setdefault(group, (before, stream.count))
            elif group in entry.pending and group not in stream.begins:
                consumer, count = entry.pending[group]
                consumer = MOVER.encode() if group == own or not consumer else consumer  # parked ones have none
                claim = ["XCLAIM", key, group, consumer, 0, text, "RETRYCOUNT", count, "FORCE", "JUSTID"]
                await self._guard.put(stream.partition, *claim)
        if SHARED in fields:
            await self._share(stream.partition, name, entry.source.partition, fields[SHARED], entry_id[0])
        stream.count += 1

    def _fields(self, stream: _NewStream, name: str, entry: SourceEntry, own: bytes, text: str) -> dict[bytes, bytes]:
        """Return the fields that an entry has in its new stream: references to other entries and streams change."""
        fields = entry.fields
        if name == "dead-letters" and STREAM in fields:
            origin = fields[STREAM].decode("utf-8", "surrogateescape").partition("}:")[2]
            return fields | {STREAM: f"{self._new.namespace}:{{{stream.partition}}}:{origin}".encode()}
        if name != "inbound" or not (entry.is_unread(own) or own in entry.pending):
            return fields
        subject = hash((fields.get(b"account"), fields.get(b"subject")))
        previous = stream.unfinished.get(subject)
        stream.unfinished[subject] = text
        if previous is not None:
            return fields | {b"after": previous.encode()}
        return {field_name: value for field_name, value in fields.items() if field_name != b"after"}

    async def _share(self, partition: int, name: str, origin: int, body: bytes, millis: int) -> None:
        """Let an entry's shared body live in its new partition, for as long as the entry.

        The count of the body's entries there does not know this one: without a count it is kept until the stream begins
        after all of them.
        """
        if partition != origin:
            content: Any = await self._redis.hget(self._old.shared(origin), body)
            if content is not None:
                await self._guard.put(partition, "HSETNX", self._new.shared(partition), body, content)
            await self._guard.put(partition, "HDEL", self._new.shared(partition), count_of(body))
        names = self._new.shared_dead if name == "dead-letters" else self._new.shared_inbound
        await self._guard.put(partition, "ZADD", names(partition), "GT", millis, body)

    async def _end(self, stream: _NewStream, name: str, groups: list[bytes], last: EntryId) -> None:
        """Set each group to its position, and the stream's last id above all that the old streams have given."""
        key = self._new.moving(stream.partition, name)
        for group in groups:
            begin, number = stream.begins.get(group, (stream.last, stream.count))
            await self._guard.put(
                stream.partition, "XGROUP", "SETID", key, group, write_id(begin), "ENTRIESREAD", number
            )
        if last > stream.last:
            await self._guard.put(stream.partition, "XSETID", key, write_id(last))

    async def switch(self, partition: int) -> None:
        """Put the new streams and sets of a partition in the places of the old ones, in one step; once."""
        names = [*STREAMS, *SETS]
        there = [await self._redis.exists(self._new.moving(partition, name)) for name in names]
        if not there[0]:
            return  # done before
        commands: list[list[Any]] = []
        for name, is_there in zip(names, there, strict=True):
            key = stream_key(self._new, partition, name)
            commands.append(["RENAME", self._new.moving(partition, name), key] if is_there else ["DEL", key])
            if name in STREAMS:
                rows: Any = await self._redis.xinfo_groups(self._new.moving(partition, name))
                commands += self._forget(partition, key, [row["name"].decode() for row in rows])
        await self._guard.run(partition, commands)

    def _forget(self, partition: int, key: str, groups: list[str]) -> list[list[Any]]:
        """Return the commands that drop what refers to ids of the old stream."""
        commands: list[list[Any]] = [["DEL", self._new.trim_cursor(key)]]
        for group in groups:
            deaths = self._new.deaths(partition, group)
            commands.append(["DEL", progress(key, group), *[self._new.parked(key, group, part) for part in PARTS]])
            commands += [["DEL", deaths], ["HSET", deaths, f"left:{MOVER}", 1], ["EXPIRE", deaths, COUNTS_LIFE]]
        return commands

    async def finish(self, partition: int) -> None:
        """Note in a partition the last unfinished entry of each subject, and how far our groups are; repeatable."""
        for name, group in STREAMS.items():
            key = stream_key(self._new, partition, name)
            if group and await self._has_group(key, group):
                if name == "inbound":
                    await self._note_latest(partition, key, group)
                await note_progress(self._redis, key, group, every=0)

    async def _has_group(self, key: str, group: str) -> bool:
        rows: Any = await self._redis.xinfo_groups(key)
        return any(row["name"] == group.encode() for row in rows)

    async def _note_latest(self, partition: int, key: str, group: str) -> None:
        start = "-"
        while True:
            held: Any = await self._redis.xpending_range(key, group, start, "+", _PAGE)
            pipeline = self._redis.pipeline(transaction=False)
            for row in held:
                pipeline.xrange(key, row["message_id"], row["message_id"])
            if not held:
                break
            await self._set_latest(partition, [row for rows in await pipeline.execute() for row in rows])
            start = f"({held[-1]['message_id'].decode()}"
        groups: Any = await self._redis.xinfo_groups(key)
        start = next(row["last-delivered-id"] for row in groups if row["name"] == group.encode()).decode()
        while True:
            unread: Any = await self._redis.xrange(key, f"({start}", "+", _PAGE)
            if not unread:
                break
            await self._set_latest(partition, unread)
            start = unread[-1][0].decode()

    async def _set_latest(self, partition: int, rows: Any) -> None:
        for entry_id, fields in rows:
            account, subject = (fields.get(name, b"").decode("utf-8", "replace") for name in (b"account", b"subject"))
            name = self._new.latest(partition, account, subject)
            await self._guard.put(partition, "SET", name, entry_id, "EX", LATEST_LIFE)
        await self._guard.flush()


def _owner(fields: dict[bytes, bytes]) -> bytes | None:
    """Return the conversation of a command, None if it names none."""
    try:
        return read_closed(fields).subject.encode() or None
    except (UnusableError, UnicodeEncodeError):
        return None


def _conversation(fields: dict[bytes, bytes]) -> bytes | None:
    """Return the conversation of an entry of a participants stream, None if it is none."""
    try:
        return str(orjson.loads(fields[b"event"])["data"]["conversation"]["id"]).encode()
    except (orjson.JSONDecodeError, LookupError, TypeError, UnicodeEncodeError):
        return None
