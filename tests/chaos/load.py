"""Plays the stories: each step after the one before, all stories beside each other.

A step that sends is over when everything of it has been answered 2xx. The load knows nothing of processes: it talks to
the balancer, to the sandbox's admin side (which no fault touches), and sees what the watcher sees.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiohttp

from router.simulator.voice import attach_call, read_attachment
from tests.chaos.replies import MARK
from tests.chaos.site import KEY, SECRET
from tests.chaos.story import Close, Remove, Ring, Say, TakeIn, Until
from tests.chaos.watcher import CLOSED, JOINED, LEFT, SAID

if TYPE_CHECKING:
    from tests.chaos.balancer import Balancer
    from tests.chaos.site import Site
    from tests.chaos.story import Customer, Step, Story, Telling
    from tests.chaos.watcher import Seen, Watcher

#: Seconds between two looks into the sandbox, and after an answer that a fault has spoiled.
LOOK: Final = 0.5


class Load:
    """Plays `stories`."""

    def __init__(self, site: Site, balancer: Balancer, watcher: Watcher, stories: tuple[Story, ...]) -> None:
        self.stories = stories
        self._played = [0] * len(stories)
        self._site, self._balancer, self._watcher = site, balancer, watcher
        self._acts = {
            Say: self._say,
            Ring: self._ring,
            TakeIn: self._take_in,
            Until: self._until,
            Close: self._close,
            Remove: self._remove,
        }

    async def play(self) -> None:
        """Play all of them; raises what the first of them that fails raises."""
        async with asyncio.TaskGroup() as group:
            for number in range(len(self.stories)):
                group.create_task(self._play(number))

    @property
    def unfinished(self) -> tuple[str, ...]:
        """The stories that have not come to their end: whose they are, and what they are at."""
        return tuple(
            f"{story.customers[0].address.key} is at step {played}: {step_name(story, played)}"
            for story, played in zip(self.stories, self._played, strict=True)
            if played < len(story.steps)
        )

    async def _play(self, number: int) -> None:
        await self._site.timeline.reach(self.stories[number].at)
        for step in self.stories[number].steps:
            await self._do(step)
            self._played[number] += 1

    async def _do(self, step: Step) -> None:
        await self._site.timeline.pause(step.pause)
        await self._acts[type(step.action)](step.action)

    async def _say(self, say: Say) -> None:
        await self._tell(say.tellings)

    async def _tell(self, tellings: tuple[Telling, ...]) -> list[bytes]:
        return await asyncio.gather(*[self._balancer.send(one.webhook, one.receiver) for one in tellings])

    async def _ring(self, ring: Ring) -> None:
        """Twilio does what the first answer says."""
        answers = await self._tell(ring.tellings)
        attached = read_attachment(answers[0])
        if attached is None:
            raise RuntimeError("a call was answered with TwiML that puts it into no conversation")
        await attach_call(self._site.sandbox_url, ring.tellings[0].webhook, attached, user=KEY, password=SECRET)

    async def _take_in(self, step: TakeIn) -> None:
        await self._site.ask("POST", step.path, dict(step.body))

    async def _until(self, wanted: Until) -> None:
        counts = {JOINED: wanted.joined, LEFT: wanted.left, CLOSED: wanted.closed, SAID: wanted.words}
        seen = await self._watcher.until(
            wanted.customer, lambda seen: all(seen.entries[kind] >= count for kind, count in counts.items())
        )
        if wanted.is_answered:
            while not await self._is_answered(wanted.customer, seen):
                await self._site.timeline.pause(LOOK)

    async def _is_answered(self, customer: Customer, seen: Seen) -> bool:
        """Whether what is to be done about somebody's entries is done: answers sent, or a person has joined."""
        path = f"/v2/Conversations/{seen.conversation}"
        try:
            if customer.target == "human-agent":
                told = await self._site.ask("GET", f"{path}/Participants", pageSize="1000")
                return any(one["type"] == "HUMAN_AGENT" for one in told["participants"])
            told = await self._site.ask("GET", f"{path}/Communications", pageSize="1000")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):  # a fault hit us instead
            return False
        texts = {one["content"]["text"] for one in told["communications"]}
        return {MARK + entry_id for entry_id in seen.ids} <= texts

    async def _close(self, close: Close) -> None:
        """Close it, and look whether it is closed wherever the answer does not say so."""
        path = f"/v2/Conversations/{self._watcher.seen[close.customer.address.key].conversation}"
        while True:
            try:
                await self._site.ask("PATCH", path, {"status": "CLOSED"})
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
                await self._site.timeline.pause(LOOK)
            try:
                if (await self._site.ask("GET", path))["status"] == "CLOSED":
                    return
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
                await self._site.timeline.pause(LOOK)

    async def _remove(self, remove: Remove) -> None:
        seen = self._watcher.seen[remove.customer.address.key]
        await self._site.ask("POST", f"/sandbox/participants/{seen.conversation}/{seen.participant}/remove")


def step_name(story: Story, number: int) -> str:
    """Return what a step does, in a word."""
    return type(story.steps[number].action).__name__
