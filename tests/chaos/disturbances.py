"""Carries out the schedule: kills, outages of Redis, faults of the API for a few requests, and outages that last."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.chaos.deployment import free_disk
from tests.chaos.lasting import CAN_FILL_DISKS, LastedOutage, Scope

if TYPE_CHECKING:
    from tests.chaos.balancer import Balancer
    from tests.chaos.deployment import ChaosDeployment
    from tests.chaos.lasting import Lasting
    from tests.chaos.schedule import Schedule

#: Seconds between two looks whether an outage has hit anything yet.
LOOK: Final = 0.5
UNDISTURBED = {"callbackDuplicates": 0, "callbackOrder": "in-order", "callbackDelaySeconds": 0.0}


class Disturbances:
    """`kills` counts the killed processes by role; `lasting` are the outages that lasted and are over."""

    def __init__(self, deployment: ChaosDeployment, balancer: Balancer, schedule: Schedule) -> None:
        self.kills: Counter[str] = Counter()
        self.lasting: list[LastedOutage] = []
        self._deployment, self._balancer, self._schedule = deployment, balancer, schedule

    async def run(self) -> None:
        """Carry out the whole schedule; returns when it is over."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kill())
            group.create_task(self._interrupt_redis())
            group.create_task(self._inject_faults())
            for outage in self._schedule.lasting:
                group.create_task(self._last(outage))
        await self.stop()

    async def stop(self) -> None:
        """End the faults of the API."""
        for sandbox in self._deployment.sandboxes:
            await sandbox.ask("DELETE", "/sandbox/faults")
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

    async def _last(self, outage: Lasting) -> None:
        """Let an outage begin and end, and note what it has hit."""
        await self._deployment.timeline.reach(outage.at)
        if not outage.scope.is_disk:
            await self._fail_requests(outage)
        elif CAN_FILL_DISKS:
            await self._fill_disk(outage)

    async def _fail_requests(self, outage: Lasting) -> None:
        """Make requests of an account, a channel or a customer fail, until the time is over and some have failed."""
        sandbox = self._deployment.sandboxes[outage.scope is Scope.ACCOUNT]
        begun, timeline, hits = time.time(), self._deployment.timeline, 0
        fault = {"method": "*", "route": "*", "containing": outage.about, "status": 503}
        await sandbox.ask("POST", "/sandbox/faults", fault)
        await timeline.pause(outage.seconds)
        while not hits and not timeline.is_over:
            answer = await sandbox.ask("GET", "/sandbox/faults")
            hits = sum(one["applied"] for one in answer["faults"] if one["containing"] == outage.about)
            await timeline.pause(0.0 if hits else LOOK)
        await sandbox.ask("DELETE", "/sandbox/faults", containing=outage.about)
        self.lasting.append(LastedOutage(outage, begun, time.time(), hits))

    async def _fill_disk(self, outage: Lasting) -> None:
        """Let the files of a process not grow any more: those of its log, and those of its spool."""
        process = await self._deployment.processes[outage.about].fill_disk()
        begun, accepted = time.time(), self._balancer.accepted
        refused = self._balancer.unavailable.copy()
        try:
            await self._deployment.timeline.pause(outage.seconds)
        finally:
            free_disk(process)
        hits = (self._balancer.unavailable - refused)[0]
        accepted = self._balancer.accepted - accepted
        self.lasting.append(LastedOutage(outage, begun, time.time(), hits, accepted))
