"""Carries the schedule out: kills processes, takes Redis away, lets the API misbehave."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.schedule import Schedule
    from tests.chaos.site import Site

CALM = {"callbackDuplicates": 0, "callbackOrder": "in-order", "callbackDelaySeconds": 0.0}


class Storm:
    """`kills` counts by role what was killed."""

    def __init__(self, site: Site, schedule: Schedule) -> None:
        self.kills: Counter[str] = Counter()
        self._site, self._schedule = site, schedule

    async def rage(self) -> None:
        """Do all that the schedule says; returns when it is over."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kill())
            group.create_task(self._outages())
            group.create_task(self._misbehave())
        await self.calm()

    async def calm(self) -> None:
        """Let the API behave again."""
        await self._site.ask("DELETE", "/sandbox/faults")
        await self._site.ask("PATCH", "/sandbox/options", CALM)

    async def _kill(self) -> None:
        for kill in self._schedule.kills:
            await self._site.timeline.reach(kill.at)
            self.kills[kill.role] += self._site.keepers[kill.role].kill(kill.down)

    async def _outages(self) -> None:
        for outage in self._schedule.outages:
            await self._site.timeline.reach(outage.at)
            await self._site.take_redis_away(is_kill=outage.is_kill, seconds=outage.seconds)

    async def _misbehave(self) -> None:
        for misbehavior in self._schedule.misbehaviors:
            await self._site.timeline.reach(misbehavior.at)
            await self._site.ask("POST", "/sandbox/faults", misbehavior.fault)
            await self._site.ask("PATCH", "/sandbox/options", misbehavior.switches)
