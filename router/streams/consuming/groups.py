"""Consumer groups and consumers: where groups begin, consumer names that are never reused, heartbeats.

FastStream creates a group at `$`, which skips entries from before the first start. So groups are created here first
(tests/redis/test_framework_facts.py): a new one at the beginning of its stream, and a lost one (XGROUP DESTROY) where
it stood. For that its consumers note with each scan of the claimer, and not more often than every NOTE_EVERY seconds,
what it has been delivered and which of these entries are pending. Before each note, and whenever reading starts, a
group that somebody has changed (XGROUP SETID, DELCONSUMER, a new one in its place) is restored from the note.

Known gaps: what a group finishes between the last note and its loss comes again; the claims of communications and
handlers' effects make that harmless. A change is not seen if it is over before the next note: a group that is set back
passes its note again, or each removed consumer is there anew under its name and has been delivered new entries. Before
Redis 7.2 it need not have been delivered any.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import time
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, Final, Self

from router.core.keys import parked_order, progress
from router.logs import describe, describe_fully, log
from router.streams.client.connection import Redis, RedisError, load_script, split_by_server
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Seconds between two notes of a group's progress, over all its consumers.
NOTE_EVERY: Final = 0.5
#: Pending entries in a note; if there are more, the group would begin again before the first that is left out.
MOST_NOTED: Final = 5_000
#: Seconds for which the note of a group is kept that no consumer reads any more.
NOTE_LIFE: Final = 366 * 86_400

_NUMBERS: Final = count(1)


class Start(Enum):
    """Where a group begins that has never read its stream."""

    OLDEST = "0"
    NEW = "$"  # with what is appended from then on


def name_consumer() -> str:
    """Make a unique name of host, process, time and a number, so that no process is taken for a dead predecessor."""
    return f"{socket.gethostname()}-{os.getpid()}-{time.time_ns() // 1_000_000:x}-{next(_NUMBERS)}"


async def ensure_group(redis: Redis, stream: str, group: str, *, start: Start = Start.OLDEST) -> bool:
    """Create the group, and its stream if missing; returns False if the group existed.

    It begins after what it had finished by its note, with the same entries pending; without a note as `start` says; if
    the stream is another one, at the beginning. A group that exists and has lost something since its note is restored.
    """
    created, _ = await _run(redis, stream, group, "create", start.value)
    return created


async def note_progress(redis: Redis, stream: str, group: str, *, every: float = NOTE_EVERY) -> None:
    """Note how far a group has come, unless one of its consumers has within `every` seconds; raises RedisError.

    If it has lost something since the last note it is restored first: by hand, somebody has set its position, removed
    consumers with pending entries, or made it anew.
    """
    await _run(redis, stream, group, "note", int(every * 1000), MOST_NOTED, NOTE_LIFE)


async def _run(redis: Redis, stream: str, group: str, *arguments: object) -> tuple[bool, bool]:
    """Run the script, and log what it has restored; returns whether the group was created, and whether noted."""
    names = [stream, progress(stream, group), parked_order(stream, group)]
    created, noted, moved_from, restored = await load_script("group").run(redis, names, [group, *arguments])
    if moved_from or restored:
        moved = moved_from.decode() or None
        log("group.restored", level="error", stream=stream, group=group, moved_from=moved, pending_again=restored)
    return bool(created), bool(noted)


class Heartbeat:
    """Keeps a consumer's heartbeat keys alive while it runs; an async context manager.

    The keys expire `ttl` seconds after the last beat, which comes more often than claimers look. Leaving deletes them,
    so that survivors take over at once. Keys on servers of their own beat independently: a server that hangs must not
    make the consumer look dead on the others.
    """

    def __init__(self, redis: Redis, keys: Iterable[str], *, ttl: float) -> None:
        self._redis = redis
        self._keys = list(keys)
        self.ttl = ttl
        self._beaten_at = dict.fromkeys(self._keys, -math.inf)
        self.tasks: list[asyncio.Task[None]] = []

    @property
    def beaten_at(self) -> float:
        """The time (time.monotonic) since which all keys have been renewed."""
        return min(self._beaten_at.values(), default=-math.inf)

    async def __aenter__(self) -> Self:
        """Start beating."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop beating and delete the keys."""
        await self.stop()

    async def start(self) -> None:
        """Beat once before anything is read, so that no entry belongs to a consumer that looks dead, then go on.

        Raises RedisError or OSError.
        """
        await self.beat()
        parts = split_by_server(self._redis, self._keys)
        self.tasks = [asyncio.create_task(self._run(part), name="heartbeat") for part in parts]

    async def stop(self) -> None:
        """Stop beating and delete the keys, if Redis answers."""
        await end(*self.tasks)
        pipeline = self._redis.pipeline(transaction=False)  # keys of several partitions may lie on several servers
        for key in self._keys:
            pipeline.delete(key)
        with contextlib.suppress(RedisError, OSError):
            await pipeline.execute()

    async def beat(self, keys: Sequence[str] | None = None) -> None:
        """Renew all keys, or these.

        An existing key only gets a later expiry, which needs no memory: Redis at its memory limit refuses SET, and live
        consumers would look dead to each other.
        """
        keys = self._keys if keys is None else keys
        ttl = int(self.ttl * 1000)
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.pexpire(key, ttl)
        begun = time.monotonic()
        renewed = await pipeline.execute()
        if not all(renewed):
            for key, is_renewed in zip(keys, renewed, strict=True):
                if not is_renewed:
                    pipeline.set(key, "1", px=ttl)
            await pipeline.execute()
        self._beaten_at.update(dict.fromkeys(keys, begun))

    async def _run(self, part: Sequence[str]) -> None:
        logged = ""
        while True:
            await asyncio.sleep(self.ttl / 6)
            try:
                await self.beat(part)
            except Exception as error:  # noqa: BLE001 - a consumer without a heartbeat loses its entries to others
                reason = describe_fully(error) if isinstance(error, RedisError | OSError) else describe(error)
                if reason != logged:  # once per outage, not once per beat
                    log("heartbeat.failed", level="warning", error=reason)
                logged = reason
            else:
                logged = ""
