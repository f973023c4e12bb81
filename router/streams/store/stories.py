"""The lists of stories in Redis (core.stories): written in the background of the work, found by names.

Stories are best effort: that a line cannot be written fails nothing, is counted, and logged once while it lasts. Lines
of events that are about to be acknowledged go before the XACK in the same pipeline. A process that dies between commit
and story is followed by one that gets the event again, and writes the line then.

Memory: about half a kilobyte for each event, for `life` seconds and up to a day longer. Three things are bounded in
each partition: the lists (`most`), the lines of each, and the pointers to lists of each day. What is refused at the
door has keys of its own with the bounds of the quarantine, so that strangers push nothing else out.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import defaultdict
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from redis.exceptions import NoScriptError

from router import metrics
from router.core.printable import masked_key
from router.core.stories import DAY, LONGEST_ADDRESS, Noted, customer_of, digest_address, write_note
from router.core.values import value
from router.logs import describe_fully, log
from router.streams.client.connection import Redis, RedisError, load_script, run_all
from router.tasks import finish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from redis.asyncio.client import Pipeline

    from router.core.keys import Keys
    from router.core.stories import StageName
    from router.streams.client.scripts import Call

#: Lines of a list: a conversation has rarely as many events in a day. The newest stay.
MOST_LINES: Final = 200
#: Names that point to lists per list, as the bound of them; 4,096 buckets share it.
POINTERS: Final = 20
BUCKETS: Final = 4_096
SHORTEST_BUCKET: Final = 64
#: Lines per run of the script: Redis does nothing else meanwhile, for a millisecond.
MOST_IN_CALL: Final = 100
#: Lines that may wait to be written in the background.
MOST_WAITING: Final = 1_000
DAY_SECONDS: Final = 86_400
#: Seconds that Redis may take to write in the background, and when the process ends.
PATIENCE: Final = 2.0
#: Characters of a detail.
MAX_DETAIL: Final = 500
#: Lists that one search reads in each partition.
MOST_LISTS: Final = 100
#: The place of the number of lines among the arguments of the script.
_COUNT: Final = 5
#: Addresses whose digests are remembered.
_REMEMBERED: Final = 4_096


class StoryAbout(NamedTuple):
    """The event that a stage is about; `addresses` are canonical forms, of the customer."""

    event: str
    account: str
    resource: str = ""
    conversation: str | None = None
    participant: str | None = None
    addresses: tuple[str, ...] = ()


@value
class StoryBounds:
    """Seconds for which lines are kept at least, and the number of lists per partition."""

    life: int
    most: int


class StoryWriter:
    """Writes lines; one per process. `secret` is the key of addresses' digests, `clock` gives µs since 1970.

    With `is_refused` they are about what was refused at the door.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        bounds: StoryBounds,
        *,
        secret: bytes,
        process: str,
        clock: Callable[[], int],
        is_refused: bool = False,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._bounds = bounds
        self._clock = clock
        self._is_refused = is_refused
        #: Lines by partition that the next `take` returns; the hot path appends to them.
        self.lines: defaultdict[int, list[bytes]] = defaultdict(list)
        self._writer: asyncio.Task[None] | None = None
        self._is_failing = False
        self._script = load_script("stories")
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

    def take(self) -> list[Call]:
        """Return the calls that write all lines so far, which are theirs from now on."""
        if not self.lines:
            return []
        waiting, self.lines = self.lines, defaultdict(list)
        bounds, keys = self._bounds, self._keys
        widest = max(SHORTEST_BUCKET, POINTERS * bounds.most // BUCKETS)
        head = [self._clock() // 1000, bounds.life + DAY_SECONDS, bounds.most, MOST_LINES, widest]
        name = keys.refusals if self._is_refused else keys.stories
        parts = [
            (partition, lines[first : first + MOST_IN_CALL])
            for partition, lines in waiting.items()
            for first in range(0, len(lines), MOST_IN_CALL)
        ]
        # As one argument: each of its own costs client and server a microsecond.
        return [([name(partition)], [*head, len(lines), b"\n".join(lines)]) for partition, lines in parts]

    def put(self, pipeline: Pipeline, calls: Iterable[Call]) -> None:
        """Append calls to a pipeline; `settle` must get their results."""
        for keys, args in calls:
            pipeline.evalsha(self._script.sha, len(keys), *keys, *args)

    async def settle(self, calls: Sequence[Call], results: Sequence[Any]) -> None:
        """Take the results of calls; never raises. A script that the server does not have is loaded and run again."""
        unknown = [call for call, result in zip(calls, results, strict=True) if isinstance(result, NoScriptError)]
        self._note(calls, results)
        if unknown:
            await self._run(unknown)

    async def flush(self) -> None:
        """Write all lines so far; never raises."""
        if self.lines:
            await self._run(self.take())

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

    async def _run(self, calls: Sequence[Call]) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                results = await run_all(self._redis, self._script, calls)
        except (RedisError, OSError) as error:
            results = [error] * len(calls)
        self._note(calls, results)

    def _note(self, calls: Sequence[Call], results: Sequence[Any]) -> None:
        """Count the lines of calls by their results."""
        written, failed = 0, 0
        problem: Exception | None = None
        for (_, args), result in zip(calls, results, strict=True):
            if not isinstance(result, Exception):
                written += result
            elif not isinstance(result, NoScriptError):  # which is run again
                problem, failed = result, failed + args[_COUNT]
        metrics.count("router_story_lines", "written", by=written)
        if problem is None:
            self._is_failing = False
        else:
            self.lose(failed, problem)

    def lose(self, lines: int, problem: Exception) -> None:
        """Count lines that are lost, and log the reason for the first after a success."""
        metrics.count("router_story_lines", "failed", by=lines)
        if not self._is_failing:
            self._is_failing = True
            log("story.failed", level="warning", error=describe_fully(problem))


class FoundList(NamedTuple):
    """A list of one day: its partition, the account and conversation that it is of (or none), and its lines."""

    partition: int
    account: str
    conversation: str
    lines: list[bytes]


class StoryReader:
    """Finds lists in all partitions, and in what was refused. `life` is that of the writers, in seconds."""

    def __init__(self, redis: Redis, keys: Keys, *, life: int) -> None:
        self._redis = redis
        self._keys = keys
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
        partitions = range(self._keys.partitions)
        prefixes = [*((one, self._keys.stories(one)) for one in partitions), (0, self._keys.refusals(0))]
        args = [MOST_LISTS, len(days), *days, *names]
        answers = await run_all(self._redis, load_script("stories_find"), [([prefix], args) for _, prefix in prefixes])
        found: list[FoundList] = []
        for (partition, _), answer in zip(prefixes, answers, strict=True):
            if isinstance(answer, Exception):
                raise answer
            found += [_read(partition, lines) for _, _, lines in answer]
        return found

    async def erase(
        self, *, now: int, lists: Iterable[str], digests: Iterable[str], is_dry_run: bool
    ) -> tuple[int, int]:
        """Erase lists by their names, those of events to which digests of an address lead, and these pointers.

        Returns the numbers of lists and of pointers; `now` in µs. Raises RedisError.
        """
        today, kept = now // DAY, self._life // DAY_SECONDS + 1
        days = list(range(today, today - kept - 1, -1))
        args = [int(is_dry_run), len(days), *days, *(f"i{one}" for one in digests), *(f"l{name}" for name in lists)]
        prefixes = [*map(self._keys.stories, range(self._keys.partitions)), self._keys.refusals(0)]
        answers = await run_all(self._redis, load_script("stories_erase"), [([one], args) for one in prefixes])
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return sum(answer[0] for answer in answers), sum(answer[1] for answer in answers)


def _read(partition: int, lines: Sequence[bytes]) -> FoundList:
    try:
        account, conversation = orjson.loads(lines[0])
    except (ValueError, TypeError):
        account, conversation = "", ""
    return FoundList(partition, str(account), str(conversation), list(lines[1:]))
