"""The lines of stories in Redis (core.stories): written in the background of the work, found by names.

A writer only appends batches of lines to a list of the partition. `StoryIndex` moves them to where they are found,
later and beside the work, as that is what costs Redis the most. A search indexes first what waits.

Stories are best effort: that a line cannot be written fails nothing, is counted, and logged once while it lasts. Lines
of events that are about to be acknowledged go before the XACK in the same pipeline. A process that dies between commit
and story is followed by one that gets the event again, and writes the line then.

Memory: about half a kilobyte for each event, for `life` seconds and up to a day longer. Four things are bounded in
each partition: the batches that wait, the lists (`most`), the lines of each, and the pointers to lists of each day.
What is refused at the door has keys of its own with the bounds of the quarantine, so that strangers push nothing else
out.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import defaultdict
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from router import metrics
from router.core.printable import masked_key
from router.core.stories import LONGEST_ADDRESS, Noted, customer_of, digest_address, write_note
from router.logs import describe_fully, log
from router.streams.client.connection import Redis, RedisError
from router.tasks import finish

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis.asyncio.client import Pipeline

    from router.core.keys import Keys
    from router.core.stories import StageName

#: Lines of a batch: one run of the index takes as many.
MOST_IN_BATCH: Final = 100
#: Batches of a partition that may wait for the index: up to 50 MB. The oldest are lost beyond that.
MOST_BATCHES: Final = 1_000
#: Lines that may wait to be written in the background.
MOST_WAITING: Final = 1_000
DAY_SECONDS: Final = 86_400
#: Seconds that Redis may take to write in the background, and when the process ends.
PATIENCE: Final = 2.0
#: Characters of a detail.
MAX_DETAIL: Final = 500
#: Addresses whose digests are remembered.
_REMEMBERED: Final = 4_096
#: Commands that write a batch.
_COMMANDS: Final = 2
#: What follows the beginning of a partition's keys in that of the list of batches.
WAITING: Final = "new"


class StoryAbout(NamedTuple):
    """The event that a stage is about; `addresses` are canonical forms, of the customer."""

    event: str
    account: str
    resource: str = ""
    conversation: str | None = None
    participant: str | None = None
    addresses: tuple[str, ...] = ()


class StoryBatch(NamedTuple):
    """Lines on their way to the list of those that wait: its key, their number, and the element that has them."""

    key: str
    lines: int
    element: bytes


class StoryWriter:
    """Writes lines; one per process. `secret` is the key of addresses' digests, `clock` gives µs since 1970.

    With `is_refused` they are about what was refused at the door. `life` is that of lines, in seconds.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        *,
        life: int,
        secret: bytes,
        process: str,
        clock: Callable[[], int],
        is_refused: bool = False,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._life = life + DAY_SECONDS
        self._clock = clock
        self._is_refused = is_refused
        #: Lines by partition that the next `take` returns; the hot path appends to them.
        self.lines: defaultdict[int, list[bytes]] = defaultdict(list)
        self._writer: asyncio.Task[None] | None = None
        self._is_failing = False
        self._is_crowded = False
        self.process = f"{process} {socket.gethostname()}:{os.getpid()}"
        self.digest: Callable[[str], str] = lru_cache(_REMEMBERED)(partial(digest_address, secret))
        self.digests_of: Callable[[str], tuple[str, ...]] = lru_cache(_REMEMBERED)(self._digests_of)

    def use(self, keys: Keys) -> None:
        """Write by these keys from now on."""
        self._keys = keys

    def _digests_of(self, subject: str) -> tuple[str, ...]:
        customer = customer_of(subject)
        return (self.digest(customer[:LONGEST_ADDRESS]),) if customer else ()

    def tell(
        self,
        partition: int,
        about: StoryAbout,
        stage: StageName,
        detail: str,
        *,
        at: int | None = None,
        place: tuple[str, str, str] | None = None,
    ) -> None:
        """Write a stage in the background; returns at once and never raises. Without `at` (µs) it is of now."""
        if sum(map(len, self.lines.values())) >= MOST_WAITING:
            metrics.count("router_story_lines", "failed")
            return
        self.add_stage(partition, about, stage, detail, at=at, place=place)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="stories")

    def add_stage(
        self,
        partition: int,
        about: StoryAbout,
        stage: StageName,
        detail: str,
        *,
        at: int | None = None,
        place: tuple[str, str, str] | None = None,
    ) -> None:
        """Add the line of a stage (core.stories.Noted)."""
        shown = detail[:MAX_DETAIL].encode("utf-8", "replace").decode()
        when = self._clock() if at is None else at
        line = write_note(
            Noted(about.event, when, str(stage), self.process, place, masked_key(about.resource), shown),
            account=about.account,
            digests=[self.digest(one[:LONGEST_ADDRESS]) for one in about.addresses if one],
            resource=about.resource,
            conversation=about.conversation,
            participant=about.participant,
        )
        self.lines[partition].append(line)

    def take(self) -> list[StoryBatch]:
        """Return batches of all lines so far, which are the caller's from now on."""
        if not self.lines:
            return []
        waiting, self.lines = self.lines, defaultdict(list)
        name = self._keys.refusals if self._is_refused else self._keys.stories
        now = self._clock() // 1000
        parts = [
            (f"{name(partition)}{WAITING}", lines[first : first + MOST_IN_BATCH])
            for partition, lines in waiting.items()
            for first in range(0, len(lines), MOST_IN_BATCH)
        ]
        # As one element: each of its own costs client and server a microsecond.
        return [StoryBatch(key, len(lines), b"\n".join([b"%d %d" % (now, len(lines)), *lines])) for key, lines in parts]

    def put(self, pipeline: Pipeline, batches: Sequence[StoryBatch]) -> int:
        """Append the writing of batches to a pipeline; returns how many results are theirs: `settle` must get them."""
        for batch in batches:
            pipeline.rpush(batch.key, batch.element)
            pipeline.expire(batch.key, self._life)
        return _COMMANDS * len(batches)

    async def settle(self, batches: Sequence[StoryBatch], results: Sequence[Any]) -> None:
        """Take the results of writing batches; never raises."""
        lost, crowded = 0, set()
        problem: Exception | None = None
        for batch, result in zip(batches, results[::_COMMANDS], strict=True):
            if isinstance(result, Exception):
                problem, lost = result, lost + batch.lines
                continue
            metrics.count("router_story_lines", "written", by=batch.lines)
            if result > MOST_BATCHES:
                crowded.add(batch.key)
        if problem is not None:
            self.lose(lost, problem)
        else:
            self._is_failing = False
        self._is_crowded = self._is_crowded and bool(crowded)
        for key in crowded:
            await self._shorten(key)

    async def _shorten(self, key: str) -> None:
        """Drop the oldest batches that wait beyond the most; logged once while it goes on."""
        try:
            async with asyncio.timeout(PATIENCE):
                dropped: Any = await self._redis.lpop(key, max(0, await self._redis.llen(key) - MOST_BATCHES)) or []
        except (RedisError, OSError):
            return  # the next batch finds it longer still
        metrics.count("router_story_lines", "failed", by=sum(map(_count_lines, dropped)))
        if dropped and not self._is_crowded:
            self._is_crowded = True
            reason = f"more than {MOST_BATCHES} batches wait for a worker to index them, so the oldest are dropped"
            log("story.failed", level="warning", error=reason)

    async def flush(self) -> None:
        """Write all lines so far; never raises."""
        batches = self.take()
        if not batches:
            return
        results: Sequence[Any]
        try:
            async with asyncio.timeout(PATIENCE):
                pipeline = self._redis.pipeline(transaction=False)
                self.put(pipeline, batches)
                results = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            results = [error] * (_COMMANDS * len(batches))
        await self.settle(batches, results)

    async def close(self) -> None:
        """Write what waits, within PATIENCE; never raises."""
        while self._writer is not None:
            await asyncio.wait([self._writer])
        await finish(self.flush(), PATIENCE)

    async def _write(self) -> None:
        try:
            while self.lines:
                await self.flush()
        finally:
            self._writer = None

    def lose(self, lines: int, problem: Exception) -> None:
        """Count lines that are lost, and log the reason for the first after a success."""
        metrics.count("router_story_lines", "failed", by=lines)
        if not self._is_failing:
            self._is_failing = True
            log("story.failed", level="warning", error=describe_fully(problem))


def _count_lines(element: bytes) -> int:
    return element.count(b"\n")
