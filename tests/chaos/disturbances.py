"""Carries out the schedule: kills processes, interrupts Redis, injects faults into the API."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.deployment import ChaosDeployment
    from tests.chaos.schedule import Schedule

UNDISTURBED = {"callbackDuplicates": 0, "callbackOrder": "in-order", "callbackDelaySeconds": 0.0}


class Disturbances:
    """`kills` counts the killed processes by role."""

    def __init__(self, deployment: ChaosDeployment, schedule: Schedule) -> None:
        self.kills: Counter[str] = Counter()
        self._deployment, self._schedule = deployment, schedule

    async def run(self) -> None:
        """Carry out the whole schedule; returns when it is over."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kill())
            group.create_task(self._interrupt_redis())
            group.create_task(self._inject_faults())
        await self.stop()

    async def stop(self) -> None:
        """End the faults of the API."""
        await self._deployment.sandbox.ask("DELETE", "/sandbox/faults")
        await self._deployment.sandbox.ask("PATCH", "/sandbox/options", UNDISTURBED)

    async def _kill(self) -> None:
        for kill in self._schedule.kills:
            await self._deployment.timeline.reach(kill.at)
            self.kills[kill.role] += self._deployment.processes[kill.role].kill(kill.down)

    async def _interrupt_redis(self) -> None:
        for outage in self._schedule.outages:
            await self._deployment.timeline.reach(outage.at)
            await self._deployment.interrupt_redis(is_kill=outage.is_kill, seconds=outage.seconds)

    async def _inject_faults(self) -> None:
        for one in self._schedule.api_faults:
            await self._deployment.timeline.reach(one.at)
            await self._deployment.sandbox.ask("POST", "/sandbox/faults", one.fault)
            await self._deployment.sandbox.ask("PATCH", "/sandbox/options", one.switches)
