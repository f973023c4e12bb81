"""Watching the participants streams without a consumer group: for display (`dev`, `simulate`), never for work."""

from __future__ import annotations

import asyncio
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.core.entries import Entry, read_entry
from router.core.keys import Keys, Target
from router.core.sealing import NO_KEYS
from router.core.stored_fields import open_stored

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from router.core.sealing import Sealer
    from router.streams.client.connection import Redis

_PAGE: Final = 200
#: Milliseconds that one read blocks.
_BLOCK: Final = 500


def participant_streams(keys: Keys) -> list[str]:
    """Return the participants streams of all partitions."""
    return [keys.participants(partition, target) for partition in range(keys.partitions) for target in Target]


async def last_ids(redis: Redis, keys: Keys) -> dict[str, str]:
    """Return the last entry id of each participants stream: the position to watch from."""
    ids: dict[str, str] = {}
    for stream in participant_streams(keys):
        newest: Any = await redis.xrevrange(stream, count=1)
        ids[stream] = newest[0][0].decode() if newest else "0-0"
    return ids


async def watch(redis: Redis, position: dict[str, str], sealer: Sealer = NO_KEYS) -> AsyncGenerator[Entry | None, None]:
    """Yield entries as they arrive, and None after each read without any; advances `position`.

    An entry that `sealer` does not open has placeholders.
    """
    while True:
        parts = await asyncio.gather(*[_read(redis, part) for part in _parts(position)])
        if not any(parts):
            yield None
        for stream, entries in chain.from_iterable(parts):
            for entry_id, fields in entries:
                position[stream.decode()] = entry_id.decode()
                yield read_entry(open_stored(fields, sealer)[0][b"event"])


def _parts(position: dict[str, str]) -> list[dict[str, str]]:
    """Group the streams by partition: one read per partition, since they may lie on different servers."""
    parts: dict[str, dict[str, str]] = {}
    for stream, last in position.items():
        parts.setdefault(stream.partition("}")[0], {})[stream] = last
    return list(parts.values())


async def _read(redis: Redis, position: dict[str, str]) -> list[Any]:
    wanted: Any = position
    rows: Any = await redis.xread(wanted, count=_PAGE, block=_BLOCK)
    return rows or []


async def find_joined(redis: Redis, keys: Keys, channel: str, address: str) -> Entry | None:
    """Return the newest `participant.joined` of an address that the streams still hold."""
    found = [
        one for stream in participant_streams(keys) if (one := await _newest_joined(redis, stream, channel, address))
    ]
    return max(found, key=itemgetter(0))[1] if found else None


async def _newest_joined(redis: Redis, stream: str, channel: str, address: str) -> tuple[tuple[int, int], Entry] | None:
    """Return the newest one of a stream, with its entry id as a sort key."""
    quoted = orjson.dumps(address)
    rows: Any = await redis.xrevrange(stream, count=10_000)
    for entry_id, fields in rows:
        event = fields.get(b"event", b"")
        if fields.get(b"type") != b"participant.joined" or quoted not in event:
            continue
        entry = read_entry(open_stored(fields, NO_KEYS)[0][b"event"])
        if (getattr(entry.data, "channel", ""), getattr(entry.data, "address", "")) == (channel, address):
            millis, _, number = entry_id.decode().partition("-")
            return (int(millis), int(number)), entry
    return None
