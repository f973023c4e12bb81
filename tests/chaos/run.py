"""One round: start everything, let the storm rage while the stories are played, wait for quiet, and make the books."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiohttp

from router.streams.client.connection import RedisError, connect
from router.tasks import end
from tests.chaos.accounting import balance, find_private
from tests.chaos.balancer import Balancer
from tests.chaos.books import Books
from tests.chaos.findings import collect, is_quiet, read_logs
from tests.chaos.load import Load
from tests.chaos.report import Report, dump, tell
from tests.chaos.schedule import ROLES
from tests.chaos.site import Site
from tests.chaos.storm import Storm
from tests.chaos.timeline import Timeline
from tests.chaos.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chaos.schedule import Schedule

#: Seconds that the load may go on after the storm, and that everything may take to become quiet.
PATIENCE: Final = 180.0
#: Seconds between two lines of progress, and two looks whether it is quiet.
TELLING: Final = 10.0
LOOK: Final = 1.0
TRACEBACK: Final = "Traceback (most recent call last)"


class Round:
    """One round in `directory`; `say` is told how it goes; `fsync` is Redis' `appendfsync`."""

    def __init__(
        self, schedule: Schedule, directory: Path, say: Callable[[str], None], *, fsync: str = "always"
    ) -> None:
        self._schedule, self._directory, self._say, self._fsync = schedule, directory, say, fsync

    async def run(self) -> Report:
        """Return the report, whatever has become of it."""
        timeline = Timeline()
        async with Site(self._directory, timeline, self._fsync) as site:
            self._site = site
            timeline.restart()
            self._balancer, self._watcher = Balancer(site), Watcher(site.redis.url, timeline)
            self._load = Load(site, self._balancer, self._watcher, self._schedule.stories)
            self._storm = Storm(site, self._schedule)
            beside = [asyncio.create_task(self._watcher.follow()), asyncio.create_task(self._tell())]
            try:
                async with self._balancer.open():
                    return await self._play()
            finally:
                timeline.end()
                await end(*beside)

    async def _play(self) -> Report:
        try:
            async with asyncio.timeout(self._schedule.scale.seconds + PATIENCE), asyncio.TaskGroup() as group:
                group.create_task(self._storm.rage())
                group.create_task(self._load.play())
        except TimeoutError:
            self._say(f"not everything could be sent in {self._site.timeline.now:.0f} s")
            await self._storm.calm()
        seconds = self._site.timeline.now
        self._say(f"the load is over after {seconds:.0f} s; waiting for quiet")
        await self._become_quiet()
        books = await self._make_books()
        report = Report(self._schedule, balance(books), tell(books, self._storm.kills, seconds))
        if not report.is_true:
            dump(self._directory, books, report)
        return report

    async def _make_books(self) -> Books:
        """Read what is there, end the processes, and read their logs, which are whole by then."""
        site = self._site
        found = await collect(site)
        statuses = await site.end_all()
        found.lines = read_logs(self._directory, ROLES)
        logs = [path for role in ROLES for path in sorted((self._directory / role).glob("*.log"))]
        return Books(
            stories=self._schedule.stories,
            fates=self._balancer.fates,
            refused=self._balancer.refused,
            found=found,
            ends=tuple(site.ends),
            aways=tuple(site.aways),
            statuses=statuses,
            private=tuple(line for log in logs for line in find_private(_read(log))),
            tracebacks=tuple(str(log.relative_to(self._directory)) for log in logs if TRACEBACK in _read(log)),
            unfinished=self._load.unfinished,
            least=self._schedule.scale.least,
        )

    async def _become_quiet(self) -> None:
        """Wait until nobody has anything to do, twice in a row with nothing done between; not for ever."""
        redis, before = connect(self._site.redis.url), None
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    state = None
                    try:
                        if not self._balancer.on_the_way and await is_quiet(self._site, redis):
                            state = (len(self._balancer.fates), self._watcher.entries)
                    except (RedisError, aiohttp.ClientError, OSError) as error:
                        self._say(f"cannot look: {type(error).__name__}")
                    if state is not None and state == before:
                        return
                    before = state
                    await self._site.timeline.pause(LOOK)
        except TimeoutError:
            self._say(f"it has not become quiet in {PATIENCE:.0f} s")
        finally:
            await redis.aclose()

    async def _tell(self) -> None:
        while not self._site.timeline.is_over:
            await self._site.timeline.pause(TELLING)
            self._say(
                f"{len(self._load.unfinished)} stories go on, {len(self._balancer.fates)} webhooks, "
                f"{self._watcher.entries} entries, {self._storm.kills.total()} kills"
                + (", Redis is away" if self._site.is_redis_away else "")
            )


def _read(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")
