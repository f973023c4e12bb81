"""Watching streams without a consumer group: for display (`dev`, `simulate`), never for work.

Anybody can write to a stream, so what is read here may be nonsense: a row has raw fields, and a key that is no stream
is a row that says so. Neither ends the watching of the others.
"""

from __future__ import annotations

import asyncio
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import orjson
from pydantic import ValidationError
from redis.exceptions import ResponseError

from router.core.entries import Entry, read_entry
from router.core.keys import Keys, Target
from router.core.sealing import NO_KEYS, SealedError, TamperedError
from router.core.stored_fields import open_stored
from router.core.values import Value, replace
from router.streams.client.connection import load_script
from router.streams.client.error_replies import passes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from router.core.sealing import Sealer
    from router.streams.client.connection import Redis

_PAGE: Final = 200
#: Milliseconds that one read blocks.
_BLOCK: Final = 500


class StreamRow(Value):
    """An entry of a watched stream as raw fields; `problem` says why a stream cannot be read, without an entry."""

    stream: str
    entry_id: str
    fields: dict[bytes, bytes]
    problem: str = ""

    def text(self, name: str) -> str:
        """Return a field as text, empty if it is missing; bytes that are not UTF-8 are escaped."""
        return self.fields.get(name.encode(), b"").decode("utf-8", "backslashreplace")

    def entry(self) -> Entry | None:
        """Return the entry in a row of a participants stream, None if that is no entry."""
        try:
            return read_entry(self.fields.get(b"event", b""))
        except (ValidationError, SealedError, TamperedError):  # "sealed" may be written with escapes, and not be opened
            return None


def participant_streams(keys: Keys) -> list[str]:
    """Return the participants streams of all partitions."""
    return [keys.participants(partition, target) for partition in range(keys.partitions) for target in Target]


async def last_ids(redis: Redis, streams: Iterable[str]) -> dict[str, str]:
    """Return the last entry id of each stream: the position to watch from. A key of another type is watched too."""
    ids: dict[str, str] = {}
    for stream in streams:
        try:
            newest: Any = await redis.xrevrange(stream, count=1)
        except ResponseError as error:
            if passes(error):
                raise
            newest = []
        ids[stream] = newest[0][0].decode() if newest else "0-0"
    return ids


async def read_time(redis: Redis, keys: Keys) -> int:
    """Return the time of Redis, by which receivers date webhooks, in µs since 1970."""
    now: int = await load_script("time").run(redis, [keys.inbound(0)], [])
    return now


async def watch(
    redis: Redis, position: dict[str, str], sealer: Sealer = NO_KEYS
) -> AsyncGenerator[list[StreamRow], None]:
    """Yield the rows of each read, none after a read without any; advances `position`. Raises RedisError.

    What `sealer` does not open has placeholders.
    """
    while True:
        parts = await asyncio.gather(*[_read(redis, part) for part in _parts(position)])
        rows = list(chain.from_iterable(parts))
        for row in rows:
            if row.entry_id:
                position[row.stream] = row.entry_id
        yield [replace(row, fields=open_stored(row.fields, sealer)[0]) for row in rows]


def _parts(position: dict[str, str]) -> list[dict[str, str]]:
    """Group the streams by partition: one read per partition, since they may lie on different servers."""
    parts: dict[str, dict[str, str]] = {}
    for stream, last in position.items():
        parts.setdefault(stream.partition("}")[0], {})[stream] = last
    return list(parts.values())


async def _read(redis: Redis, position: dict[str, str]) -> list[StreamRow]:
    """Return the next rows in the streams of one partition; waits a while for the first row."""
    try:
        return await _xread(redis, position, _BLOCK)
    except ResponseError as error:
        if passes(error):
            raise
    rows: list[StreamRow] = []
    for stream, last in position.items():  # one of the keys is no stream: the others are read on their own
        try:
            rows += await _xread(redis, {stream: last}, None)
        except ResponseError as error:
            if passes(error):
                raise
            rows.append(StreamRow(stream, "", {}, str(error)))
    await asyncio.sleep(_BLOCK / 1000)
    return rows


async def _xread(redis: Redis, position: dict[str, str], block: int | None) -> list[StreamRow]:
    wanted: Any = position
    found: Any = await redis.xread(wanted, count=_PAGE, block=block)
    return [
        StreamRow(stream.decode(), entry_id.decode(), fields)
        for stream, entries in found or []
        for entry_id, fields in entries
        if fields is not None
    ]


async def find_joined(redis: Redis, keys: Keys, channel: str, address: str, *, is_open: bool = False) -> Entry | None:
    """Return the newest `participant.joined` of an address that the streams still hold.

    If it `is_open`, that of a conversation which has not been closed since.
    """
    found = [
        one
        for stream in participant_streams(keys)
        if (one := await _newest_joined(redis, stream, channel, address, is_open=is_open))
    ]
    return max(found, key=itemgetter(0))[1] if found else None


async def _newest_joined(
    redis: Redis, stream: str, channel: str, address: str, *, is_open: bool
) -> tuple[tuple[int, int], Entry] | None:
    """Return the newest one of a stream, with its entry id as a sort key."""
    quoted, closed = orjson.dumps(address), set[str]()
    rows: Any = await redis.xrevrange(stream, count=10_000)
    for entry_id, fields in rows:
        kind, event = fields.get(b"type"), fields.get(b"event", b"")
        is_closing = is_open and kind == b"conversation.closed"
        if not is_closing and (kind != b"participant.joined" or quoted not in event):
            continue
        entry = StreamRow(stream, entry_id.decode(), open_stored(fields, NO_KEYS)[0]).entry()
        if entry is None or entry.data.conversation.id in closed:
            continue
        if is_closing:
            closed.add(entry.data.conversation.id)
        elif (getattr(entry.data, "channel", ""), getattr(entry.data, "address", "")) == (channel, address):
            millis, _, number = entry_id.decode().partition("-")
            return (int(millis), int(number)), entry
    return None
