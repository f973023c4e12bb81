"""One round: start everything, run the scenarios while it is disturbed, wait until it is idle, and make the table."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiohttp

from router.streams.client.connection import RedisError, connect
from router.tasks import end
from tests.chaos.accounting import find_private, make_table
from tests.chaos.balancer import Balancer
from tests.chaos.deployment import ChaosDeployment
from tests.chaos.disturbances import Disturbances
from tests.chaos.final_state import collect, is_idle, read_logs
from tests.chaos.load import Load
from tests.chaos.people import People
from tests.chaos.record import RoundRecord
from tests.chaos.report import Report, dump, summarize
from tests.chaos.schedule import ROLES
from tests.chaos.timeline import Timeline
from tests.chaos.watcher import Watcher
from tests.support.waiting import deadline, scaled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chaos.schedule import Schedule

#: Seconds, scaled, that the load may go on after the last disturbance, and that everything may take to become idle.
PATIENCE: Final = 180.0
#: Seconds, scaled, of a part of an outage that lasts, in which others have to be served.
PART: Final = 5.0
#: Seconds between two lines of progress, and between two looks whether everything is idle.
PROGRESS_EVERY: Final = 10.0
LOOK: Final = 1.0
TRACEBACK: Final = "Traceback (most recent call last)"


class Round:
    """One round in `directory`; `say` gets lines of progress; `fsync` is the `appendfsync` of Redis."""

    def __init__(
        self, schedule: Schedule, directory: Path, say: Callable[[str], None], *, fsync: str = "always"
    ) -> None:
        self._schedule, self._directory, self._say, self._fsync = schedule, directory, say, fsync

    async def run(self) -> Report:
        """Return the report, whether its rows are true or not."""
        timeline = Timeline()
        async with ChaosDeployment(self._directory, timeline, self._fsync) as deployment:
            self._deployment = deployment
            timeline.restart()
            self._balancer, self._watcher = Balancer(deployment), Watcher(deployment.redis.url, timeline)
            self._people = People(deployment.redis.url, timeline, self._schedule.seed)
            self._load = Load(deployment, self._balancer, self._watcher, self._people, self._schedule.scenarios)
            self._disturbances = Disturbances(deployment, self._balancer, self._schedule)
            works = (self._watcher.follow(), self._people.run(), self._report_progress())
            beside = [asyncio.create_task(work) for work in works]
            try:
                async with self._balancer.open():
                    return await self._run_load()
            finally:
                timeline.end()
                await end(*beside)

    async def _run_load(self) -> Report:
        try:
            async with deadline(self._schedule.scale.seconds + PATIENCE), asyncio.TaskGroup() as group:
                group.create_task(self._disturbances.run())
                group.create_task(self._load.run())
        except TimeoutError:
            self._say(f"not everything could be sent in {self._deployment.timeline.now:.0f} s")
            await self._disturbances.stop()
        self._people.is_calm = True
        seconds = self._deployment.timeline.now
        self._say(f"the load is over after {seconds:.0f} s; waiting until everything is idle")
        await self._wait_until_idle()
        record = await self._make_record()
        report = Report(self._schedule, make_table(record), summarize(record, self._disturbances.kills, seconds))
        if not report.is_true:
            dump(self._directory, record, report)
        return report

    async def _make_record(self) -> RoundRecord:
        """Read the state, stop the processes, and read their logs, which are complete by then."""
        deployment = self._deployment
        state = await collect(deployment)
        statuses = await deployment.stop_all()
        state.lines = read_logs(self._directory, ROLES)
        logs = [path for role in ROLES for path in sorted((self._directory / role).glob("*.log"))]
        return RoundRecord(
            scenarios=self._schedule.scenarios,
            deliveries=self._balancer.deliveries,
            refused=self._balancer.refused,
            state=state,
            ends=tuple(deployment.ends),
            redis_outages=tuple(deployment.redis_outages),
            statuses=statuses,
            private=tuple(line for log in logs for line in find_private(_read(log))),
            tracebacks=tuple(str(log.relative_to(self._directory)) for log in logs if TRACEBACK in _read(log)),
            unfinished=self._load.unfinished,
            least=self._schedule.scale.least,
            lasting=tuple(self._disturbances.lasting),
            part=scaled(PART),
            losses=self._people.losses,
        )

    async def _wait_until_idle(self) -> None:
        """Wait until nothing is left to do, twice in a row with nothing done in between, or until the time is over."""
        redis, before = connect(self._deployment.redis.url, timeout=scaled(20)), None
        try:
            async with deadline(PATIENCE):
                while True:
                    now = None
                    try:
                        if not self._balancer.on_the_way and await is_idle(self._deployment, redis):
                            now = (len(self._balancer.deliveries), self._watcher.entries)
                    except (RedisError, aiohttp.ClientError, OSError) as error:
                        self._say(f"cannot look whether all is idle: {type(error).__name__}")
                    if now is not None and now == before:
                        return
                    before = now
                    await self._deployment.timeline.pause(LOOK)
        except TimeoutError:
            self._say(f"not everything became idle in {scaled(PATIENCE):.0f} s")
        finally:
            await redis.aclose()

    async def _report_progress(self) -> None:
        while not self._deployment.timeline.is_over:
            await self._deployment.timeline.pause(PROGRESS_EVERY)
            self._say(
                f"{len(self._load.unfinished)} scenarios to go, {len(self._balancer.deliveries)} webhooks, "
                f"{self._watcher.entries} entries, {self._disturbances.kills.total()} kills"
                + (", Redis is away" if self._deployment.is_redis_away else "")
            )


def _read(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")
