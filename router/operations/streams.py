"""The streams of a deployment: how fast they grow, who reads them, and what each group has still to do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from router.core.timestamps import to_text
from router.streams.client.connection import load_script
from router.streams.store.inspect import all_streams, list_consumers, read_stream

if TYPE_CHECKING:
    from router.core.keys import Keys
    from router.streams.client.connection import Redis
    from router.streams.store.inspect import Consumer, GroupState
    from router.streams.store.parking import Lane

#: ms over which the rate is measured, and the most entries that are counted for it.
RATE_SPAN: Final = 60_000
RATE_MOST: Final = 200
#: Streams that are read at once: each takes a dozen round trips.
AT_ONCE: Final = 10


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A group. `lag`: entries that it has not read; `oldest_active`: time of the oldest unread or pending one (µs)."""

    name: str
    lag: int
    pending: int
    parked: int
    oldest_active: int | None
    oldest_parked: int | None
    lanes: tuple[Lane, ...]
    readers: tuple[Consumer, ...]

    @property
    def oldest(self) -> int | None:
        """The time of the oldest entry that it has not finished (µs)."""
        return min((one for one in (self.oldest_active, self.oldest_parked) if one is not None), default=None)

    @property
    def is_read(self) -> bool:
        """Whether a consumer of it is alive."""
        return any(reader.is_alive for reader in self.readers)

    def to_json(self) -> dict[str, Any]:
        """Return the group for programs."""
        return {
            "name": self.name,
            "lag": self.lag,
            "pending": self.pending,
            "parked": self.parked,
            "oldest": _time(self.oldest),
            "oldest_parked": _time(self.oldest_parked),
            "is_read": self.is_read,
            "lanes": [{"name": one.name, "subjects": one.subjects, "due_in": one.due_in} for one in self.lanes],
            "readers": [
                {"name": one.name, "pending": one.pending, "idle_ms": one.idle_ms, "is_alive": one.is_alive}
                for one in self.readers
            ],
        }


@dataclass(frozen=True, slots=True)
class StreamReport:
    """A stream. `kind` is what follows the partition in its key; `rate` in entries per second over the last minute.

    `added`: entries that were ever added.
    """

    key: str
    partition: int
    kind: str
    length: int
    size: int
    rate: float
    added: int
    groups: tuple[GroupReport, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the stream for programs."""
        return {
            "stream": self.key,
            "partition": self.partition,
            "kind": self.kind,
            "length": self.length,
            "bytes": self.size,
            "rate": round(self.rate, 2),
            "added": self.added,
            "groups": [group.to_json() for group in self.groups],
        }


async def read_streams(redis: Redis, keys: Keys) -> list[StreamReport]:
    """Return all streams of the namespace, read AT_ONCE at a time; raises RedisError."""
    names = all_streams(keys)
    reports: list[StreamReport] = []
    for first in range(0, len(names), AT_ONCE):
        reports += await asyncio.gather(*[read_report(redis, keys, name) for name in names[first : first + AT_ONCE]])
    return reports


async def read_report(redis: Redis, keys: Keys, key: str) -> StreamReport:
    """Return one stream; one that does not exist is empty."""
    state = await read_stream(redis, keys, key)
    number, span, added = await load_script("rate").run(redis, [key], [RATE_SPAN, RATE_MOST])
    partition, _, kind = key.removeprefix(f"{keys.namespace}:{{").partition("}:")
    groups = [_report(group, await list_consumers(redis, keys, key, group.name)) for group in state.groups]
    return StreamReport(
        key,
        int(partition),
        kind,
        length=state.length,
        size=state.size,
        rate=number * 1000 / span,
        added=int(added),
        groups=tuple(groups),
    )


def _report(group: GroupState, readers: list[Consumer]) -> GroupReport:
    return GroupReport(
        group.name,
        lag=group.lag,
        pending=group.pending,
        parked=group.parked,
        oldest_active=_micros(group.oldest_active),
        oldest_parked=_micros(group.oldest_parked),
        lanes=group.lanes,
        readers=tuple(readers),
    )


def _micros(millis: int | None) -> int | None:
    return None if millis is None else millis * 1000


def _time(micros: int | None) -> str | None:
    return None if micros is None else to_text(micros)
