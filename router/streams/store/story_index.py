"""The index of stories in Redis: lines that wait are moved to lists, which are found by names.

A run of the script takes 10 to 15 µs of Redis for each line, more than all else that one event costs there but the
commit. So a worker's batches never wait for it: it runs beside them, in each partition at most every PAUSE ms whatever
the number of workers, and before a search.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from router import metrics
from router.core.stories import DAY, MOST_DAYS
from router.core.values import Value
from router.logs import describe, describe_fully, log
from router.streams.client.connection import Redis, RedisError, load_script, run_all
from router.streams.store.stories import DAY_SECONDS, MOST_BATCHES, MOST_IN_BATCH

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from router.core.keys import Keys

#: Lines of a list: a conversation has rarely as many events in a day. The newest stay.
MOST_LINES: Final = 200
#: Names that point to lists per list, as the bound of them; 4,096 buckets share it.
POINTERS: Final = 20
BUCKETS: Final = 4_096
SHORTEST_BUCKET: Final = 64
#: Pointers of a bucket whatever the most lists: a search reads whole buckets, and Redis answers nothing else meanwhile.
WIDEST_BUCKET: Final = 2_048
#: Milliseconds between two runs of the script in a partition: it takes 1 to 2 % of Redis's time.
PAUSE: Final = 100
#: Batches that wait from which they are indexed without pauses.
URGENT: Final = MOST_BATCHES // 2
#: Seconds until a worker looks again when nothing waits.
IDLE: Final = 0.5
#: Lists that one search reads in each partition.
MOST_LISTS: Final = 100
#: Days that one run of the script erases: Redis answers nothing else meanwhile.
DAYS_AT_ONCE: Final = 8


class StoryBounds(Value):
    """Seconds for which lines are kept at least, and the number of lists per partition."""

    life: int
    most: int


class StoryLineError(Exception):
    """Lines that waited cannot be indexed: somebody has written nonsense."""


class StoryIndex:
    """Indexes the lines of all partitions by `bounds`, and those of what was refused by `refused`."""

    def __init__(self, redis: Redis, keys: Keys, bounds: StoryBounds, refused: StoryBounds) -> None:
        self._redis = redis
        self.partitions = keys.partitions
        #: The beginnings of keys: of the partitions, and of what was refused.
        self.prefixes = [*map(keys.stories, range(keys.partitions)), keys.refusals(0)]
        self._arguments = [*([_arguments(bounds)] * keys.partitions), _arguments(refused)]
        self._is_failing = False

    async def run(self) -> None:
        """Index what waits until canceled; a failure is logged once while it lasts, and holds up no other partition."""
        while True:
            try:
                waiting, problem = await self._index([PAUSE, URGENT])
                self._note(describe_fully(problem) if problem is not None else "")
            except (RedisError, OSError) as error:
                waiting = 0
                self._note(describe_fully(error))
            except Exception as error:  # noqa: BLE001 - the root of a task that must not end
                waiting = 0
                self._note(describe(error))
            if waiting < URGENT:
                await asyncio.sleep(PAUSE / 1000 if waiting else IDLE)

    async def drain(self) -> None:
        """Index all that waits now; raises RedisError if a partition cannot be written, once the others are done."""
        for _ in range(MOST_BATCHES):
            waiting, problem = await self._index([0, 0])
            if isinstance(problem, StoryLineError):
                self._note(describe_fully(problem))
            elif not waiting and problem is not None:
                raise problem
            if not waiting:
                return

    async def _index(self, pace: list[int]) -> tuple[int, Exception | None]:
        """Run the script in each partition; returns the most batches that one has left, and why one failed."""
        calls = [([one], [*args, *pace]) for one, args in zip(self.prefixes, self._arguments, strict=True)]
        waiting, problem = 0, None
        for answer in await run_all(self._redis, load_script("stories_index"), calls):
            if isinstance(answer, Exception):
                problem = answer
                continue
            _, failed, left, *reason = answer
            waiting = max(waiting, left)
            if failed:
                metrics.count("router_story_lines", "failed", by=failed)
                problem = problem or StoryLineError(reason[0].decode(errors="replace"))
        return waiting, problem

    def _note(self, problem: str) -> None:
        """Log the first problem after an index without any."""
        if problem and not self._is_failing:
            log("story.failed", level="warning", error=problem)
        self._is_failing = bool(problem)


def _arguments(bounds: StoryBounds) -> list[int]:
    widest = min(max(SHORTEST_BUCKET, POINTERS * bounds.most // BUCKETS), WIDEST_BUCKET)
    return [bounds.life + DAY_SECONDS, bounds.most, MOST_LINES, widest, MOST_IN_BATCH]


class FoundList(NamedTuple):
    """A list of one day: its partition, the account and conversation that it is of (or none), and its lines."""

    partition: int
    account: str
    conversation: str
    lines: list[bytes]


class StoryReader:
    """Finds lists in all partitions, and in what was refused. `life` is that of the lines, in seconds."""

    def __init__(self, redis: Redis, index: StoryIndex, *, life: int) -> None:
        self._redis = redis
        self._index = index
        self._life = life

    async def find(
        self, *, now: int, lists: Iterable[str] = (), pointers: Iterable[str] = (), around: int | None = None
    ) -> list[FoundList]:
        """Return the lists of these names, and those that `pointers` lead to; the newest days first.

        `around` (µs) leaves only its day and those beside it. Raises RedisError if one partition cannot be read.
        """
        today, kept = now // DAY, self._life // DAY_SECONDS + 1
        days = list(range(today, today - kept - 1, -1))
        if around is not None:
            days = [day for day in days if abs(day - around // DAY) <= 1]
        names = [*(f"l{name}" for name in lists), *(f"i{name}" for name in pointers)]
        if not days or not names:
            return []
        args = [MOST_LISTS, len(days), *days, *names]
        found: list[FoundList] = []
        # What is indexed is found also by a server that takes no writes, as in an outage that somebody looks into.
        with suppress(RedisError, OSError):
            await self._index.drain()
        for index, answer in enumerate(await self._run("stories_find", args)):
            partition = index if index < self._index.partitions else 0  # what was refused is in the first
            found += [_read(partition, lines) for _, _, lines in answer]
        return found

    async def erase(
        self, *, now: int, lists: Iterable[str], digests: Iterable[str], is_dry_run: bool
    ) -> tuple[int, int, set[tuple[str, str]]]:
        """Erase lists by their names, those of events to which digests of an address lead, and these pointers.

        Returns the numbers of lists and of pointers, and the (account, conversation)s of the other lists to which the
        digests lead; `now` in µs. All days are searched for which lines may be kept, since the setting may have been a
        longer one when they were written. Raises RedisError.
        """
        names = [*(f"i{one}" for one in digests), *(f"l{name}" for name in lists)]
        erased, pointers, others = 0, 0, set[tuple[str, str]]()
        await self._index.drain()
        for ago in range(0, MOST_DAYS + 2, DAYS_AT_ONCE):  # a day begins before its lines, and its keys live longer
            days = [now // DAY - one for one in range(ago, ago + DAYS_AT_ONCE)]
            for more, led, headers in await self._run("stories_erase", [int(is_dry_run), len(days), *days, *names]):
                erased += more
                pointers += led
                others.update(map(_read_header, headers))
        return erased, pointers, others

    async def _run(self, script: str, args: list[Any]) -> list[Any]:
        """Run a script for all prefixes; returns its answers. Raises RedisError."""
        calls = [([one], args) for one in self._index.prefixes]
        answers = await run_all(self._redis, load_script(script), calls)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers


def _read(partition: int, lines: Sequence[bytes]) -> FoundList:
    return FoundList(partition, *_read_header(lines[0]), list(lines[1:]))


def _read_header(header: bytes) -> tuple[str, str]:
    """Return the account and the conversation of a list; empty if somebody has written nonsense there."""
    try:
        account, conversation, *_ = orjson.loads(header)
    except (ValueError, TypeError):
        return "", ""
    return str(account), str(conversation)
