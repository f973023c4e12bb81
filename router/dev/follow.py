"""Everything that `dev` reads to show it: the streams of all partitions and the logs of its processes.

Whatever is read, nothing of it ends the reading: a row may be nonsense, Redis may be away, a log may be gone.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from dataclasses import replace
from time import time_ns
from typing import TYPE_CHECKING, Final

from router.core.sealing import NO_KEYS
from router.dev.entry_lines import tell_dead_letter, tell_entry
from router.dev.happening import Happening, LineKind
from router.dev.log_lines import tell_line
from router.logs import describe_fully
from router.streams.client.connection import RedisError
from router.streams.client.servers import read_deployment
from router.streams.store.watch import last_ids, participant_streams, watch
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from router.core.entries import Entry
    from router.core.keys import Keys
    from router.core.sealing import Sealer
    from router.dev.answers import AnswerReader
    from router.dev.feed import Feed
    from router.dev.known import Known
    from router.streams.client.connection import Redis
    from router.streams.store.watch import StreamRow

#: Seconds between two tries to read from a Redis that does not answer.
RETRY_DELAY: Final = 0.5
#: Seconds between two looks at the logs.
LOG_STEP: Final = 0.1
#: Bytes of one log that are read at once.
_MOST_BYTES: Final = 1_048_576
#: µs by which the clocks of Redis and of this machine may differ without a difference.
_SAME_CLOCK: Final = 100_000


class LogTails:
    """Follows the logs in a folder from where they end now: what earlier runs wrote is not shown."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offsets = {path: path.stat().st_size for path in folder.glob("*.log")}

    def read(self) -> list[bytes]:
        """Return the whole lines written since the last call."""
        lines: list[bytes] = []
        for path in sorted(self._folder.glob("*.log")):
            lines += self._read(path)
        return lines

    def last_lines(self, most: int) -> dict[str, list[str]]:
        """Return the last lines of this run that are no log lines, by process: a traceback or a list of settings."""
        found = {}
        for path in sorted(self._folder.glob("*.log")):
            lines = self._rest(path).decode("utf-8", "replace").splitlines()
            found[path.stem] = [line for line in lines if not line.startswith("{")][-most:]
        return found

    def _read(self, path: Path) -> list[bytes]:
        found = self._rest(path)[:_MOST_BYTES]
        whole, _, _ = found.rpartition(b"\n")
        if not whole and len(found) == _MOST_BYTES:  # one endless line is no log line
            self._offsets[path] = self._offsets.get(path, 0) + len(found)
            return []
        self._offsets[path] = self._offsets.get(path, 0) + (len(whole) + 1 if whole else 0)
        return whole.splitlines()

    def _rest(self, path: Path) -> bytes:
        """Return the lines written since the last call; a file that has become shorter begins anew."""
        try:
            with path.open("rb") as file:
                if path.stat().st_size < self._offsets.get(path, 0):
                    self._offsets[path] = 0
                file.seek(self._offsets.get(path, 0))
                return file.read(_MOST_BYTES + 1)
        except OSError:
            return b""


class OwnLog:
    """The stream for the log lines of this process, which go into the feed instead of to the terminal."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def write(self, text: str) -> None:
        """Take whole lines."""
        for line in text.splitlines():
            if (happening := tell_line(line.encode())) is not None:
                self._feed.add(happening)

    def flush(self) -> None:
        """Do nothing: the feed prints them."""


class Follower:
    """Reads streams and logs into a feed; `on_entry` is given each entry too."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        feed: Feed,
        *,
        sealer: Sealer = NO_KEYS,
        known: Known,
        answers: AnswerReader,
        tails: LogTails,
        on_entry: Callable[[Entry], Awaitable[None]],
    ) -> None:
        self._redis = redis
        self._sealer = sealer
        self._feed = feed
        self._known = known
        self._answers = answers
        self._tails = tails
        self._on_entry = on_entry
        self._entries = frozenset(participant_streams(keys))
        partitions = range(keys.partitions)
        self._dead = frozenset(keys.dead_letters(partition) for partition in partitions)
        self._streams = [*self._entries, *self._dead, *(keys.inbound(partition) for partition in partitions)]
        self._position: dict[str, str] = {}
        self._skew = 0

    async def prepare(self) -> None:
        """Remember the current ends of the streams."""
        self._position = await last_ids(self._redis, self._streams)
        with suppress(RedisError):  # a user who may not ask for it
            (first, *_) = (await read_deployment(self._redis)).servers
            skew = round((first.skew or 0.0) * 1_000_000)
            self._skew = skew if abs(skew) > _SAME_CLOCK else 0

    async def run(self) -> None:
        """Show everything that comes, until canceled. Raises OutputLostError."""
        tasks = [asyncio.create_task(part) for part in (self._feed.run(), self._follow_streams(), self._follow_logs())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            await end(*tasks)

    async def _follow_streams(self) -> None:
        """Read until canceled; an outage of Redis is shown, and only delays the rest."""
        is_away = False
        while True:
            try:
                async with aclosing(watch(self._redis, self._position, self._sealer)) as reads:
                    async for rows in reads:
                        if is_away:
                            is_away = False
                            self._feed.add(Happening(_now(), LineKind.WELL, "dev", "Redis answers again"))
                        for row in rows:
                            with suppress(RedisError, OSError):  # of people of the demo, whom the demo waits for
                                await self._take(row)
            except (RedisError, OSError) as error:
                if not is_away:
                    text = f"Redis does not answer: {describe_fully(error)}"
                    self._feed.add(Happening(_now(), LineKind.TROUBLE, "dev", text))
                is_away = True
                await asyncio.sleep(RETRY_DELAY)

    async def _take(self, row: StreamRow) -> None:
        if row.problem:
            text = f"{row.stream} cannot be read: {row.problem}"
            self._feed.add(Happening(_now(), LineKind.TROUBLE, "dev", text))
            return
        if row.stream in self._dead:
            self._feed.add(self._by_our_clock(tell_dead_letter(row, self._known)))
            return
        if row.stream not in self._entries:
            happening = await self._answers.tell(row)
        else:
            happening = tell_entry(row, self._known)
        if happening is not None:
            self._feed.add(self._by_our_clock(happening))
        if row.stream in self._entries and (entry := row.entry()) is not None:
            await self._on_entry(entry)

    def _by_our_clock(self, happening: Happening) -> Happening:
        """Return a row of Redis with the time of this machine, by which logs are dated."""
        return replace(happening, at=happening.at + self._skew) if self._skew else happening

    async def _follow_logs(self) -> None:
        while True:
            for line in await asyncio.to_thread(self._tails.read):
                if (happening := tell_line(line)) is not None:
                    self._feed.add(happening)
            await asyncio.sleep(LOG_STEP)


def _now() -> int:
    return time_ns() // 1000
