"""Runs the scenarios: the steps of each one after the other, all scenarios at the same time.

A step that sends webhooks is over when each has been answered 2xx. The load knows nothing of processes: it talks to the
balancer and to the sandbox's admin API (which no fault affects), and learns from the watcher what was published.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiohttp

from router.core.keys import Target
from router.simulator.voice import attach_call, read_attachment
from tests.chaos.replies import MARK
from tests.chaos.scenario import (
    AskForPerson,
    CloseConversation,
    HandBack,
    PlaceCall,
    RemoveCustomer,
    SandboxRequest,
    SendWebhooks,
    WaitUntil,
)
from tests.chaos.watcher import CLOSED, JOINED, LEFT, RECEIVED
from tests.support.accounts import KEY, SECRET

if TYPE_CHECKING:
    from tests.chaos.balancer import Balancer
    from tests.chaos.deployment import ChaosDeployment
    from tests.chaos.people import People
    from tests.chaos.scenario import Copy, Customer, Scenario, Step
    from tests.chaos.watcher import Seen, Watcher

#: Seconds between two requests to the sandbox that wait for something, and after a request that a fault has hit.
LOOK: Final = 0.5


class Load:
    """Runs `scenarios`."""

    def __init__(
        self,
        deployment: ChaosDeployment,
        balancer: Balancer,
        watcher: Watcher,
        people: People,
        scenarios: tuple[Scenario, ...],
    ) -> None:
        self.scenarios = scenarios
        self._finished_steps = [0] * len(scenarios)
        self._deployment, self._balancer, self._watcher, self._people = deployment, balancer, watcher, people
        self._actions = {
            SendWebhooks: self._send_webhooks,
            PlaceCall: self._place_call,
            SandboxRequest: self._request,
            WaitUntil: self._wait_until,
            CloseConversation: self._close,
            RemoveCustomer: self._remove,
            AskForPerson: self._ask,
            HandBack: self._hand_back,
        }

    async def run(self) -> None:
        """Run all of them; raises the error of the first one that fails."""
        async with asyncio.TaskGroup() as group:
            for number in range(len(self.scenarios)):
                group.create_task(self._run(number))

    @property
    def unfinished(self) -> tuple[str, ...]:
        """The scenarios that have not come to their end: whose they are, and their current step."""
        return tuple(
            f"{scenario.customers[0].address.key} is at step {number}: {step_name(scenario, number)}"
            for scenario, number in zip(self.scenarios, self._finished_steps, strict=True)
            if number < len(scenario.steps)
        )

    async def _run(self, number: int) -> None:
        await self._deployment.timeline.reach(self.scenarios[number].at)
        for step in self.scenarios[number].steps:
            await self._do(step)
            self._finished_steps[number] += 1

    async def _do(self, step: Step) -> None:
        await self._deployment.timeline.pause(step.pause)
        await self._actions[type(step.action)](step.action)

    async def _send_webhooks(self, step: SendWebhooks) -> None:
        await self._send(step.copies)

    async def _send(self, copies: tuple[Copy, ...]) -> list[bytes]:
        return await asyncio.gather(*[self._balancer.send(one.webhook, one.receiver) for one in copies])

    async def _place_call(self, step: PlaceCall) -> None:
        """Do with the call what the first answer says, as Twilio does."""
        answers = await self._send(step.copies)
        attached = read_attachment(answers[0])
        if attached is None:
            raise RuntimeError("the TwiML of an answer puts the call into no conversation")
        await attach_call(self._deployment.sandbox_url, step.copies[0].webhook, attached, user=KEY, password=SECRET)

    async def _request(self, step: SandboxRequest) -> None:
        await self._deployment.sandbox.ask("POST", step.path, dict(step.body))

    async def _wait_until(self, step: WaitUntil) -> None:
        counts = {JOINED: step.joined, LEFT: step.left, CLOSED: step.closed, RECEIVED: step.messages}
        seen = await self._watcher.until(
            step.customer, lambda seen: all(seen.entries[kind] >= count for kind, count in counts.items())
        )
        if step.is_answered:
            while not await self._is_answered(step.customer, seen):
                await self._deployment.timeline.pause(LOOK)

    async def _is_answered(self, customer: Customer, seen: Seen) -> bool:
        """Tell whether the customer's entries have had their effect: answers were sent, or a human agent has joined."""
        sandbox = self._deployment.sandbox
        try:
            if customer.target == Target.HUMAN_AGENT:
                participants = await sandbox.participants(seen.conversation)
                return any(one["type"] == "HUMAN_AGENT" for one in participants)
            texts = await sandbox.texts(seen.conversation)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):  # a fault hit this request
            return False
        return {MARK + entry_id for entry_id in seen.ids} <= {*texts}

    async def _close(self, step: CloseConversation) -> None:
        """Close the conversation; repeat that until the API shows it as closed, whatever faults do to answers."""
        path = f"/v2/Conversations/{self._watcher.seen[step.customer.address.key].conversation}"
        while True:
            try:
                await self._deployment.sandbox.ask("PATCH", path, {"status": "CLOSED"})
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
                await self._deployment.timeline.pause(LOOK)
            try:
                if (await self._deployment.sandbox.ask("GET", path))["status"] == "CLOSED":
                    return
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
                await self._deployment.timeline.pause(LOOK)

    async def _remove(self, step: RemoveCustomer) -> None:
        seen = self._watcher.seen[step.customer.address.key]
        await self._deployment.sandbox.remove_participant(seen.conversation, seen.participant)

    async def _ask(self, step: AskForPerson) -> None:
        conversation = self._watcher.seen[step.customer.address.key].conversation
        given = {"conversation": conversation, "reason": "wants a person", "account": step.customer.account}
        await self._people.command("handoff.request", f"ask-{conversation}", **given)

    async def _hand_back(self, step: HandBack) -> None:
        """Release as whoever holds; where that one's presence has ended meanwhile, as the next one."""
        while True:
            seen = await self._watcher.until(step.customer, lambda seen: seen.agent or seen.epoch > 1)
            if seen.target == Target.AI_AGENT:
                return
            epoch = seen.epoch
            if seen.agent:
                name = f"release-{seen.conversation}-{epoch}"
                given = {"conversation": seen.conversation, "agent": seen.agent, "epoch": epoch}
                await self._people.command("conversation.release", name, **given, account=step.customer.account)
            await self._watcher.until(step.customer, lambda seen, epoch=epoch: seen.epoch > epoch)


def step_name(scenario: Scenario, number: int) -> str:
    """Return the name of a step's action."""
    return type(scenario.steps[number].action).__name__
