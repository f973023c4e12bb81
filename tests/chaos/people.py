"""The people of a round: they come and go by commands, and accept, decline or miss what is offered to them.

They are programs outside of the deployment, as a page would be: they read the human-agent stream and write commands,
each again and again until Redis has it, some twice. Sometimes the presence of one ends without a word.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import orjson

from router.core.keys import Keys, Target
from router.streams.client.connection import RedisError, connect
from tests.chaos.deployment import HUMAN_AGENTS
from tests.chaos.watcher import MADE
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from tests.chaos.timeline import Timeline

#: Seconds: between two signs of life, how long one lasts, and from one loss of a presence to the next.
SIGN_EVERY: Final = 2.0
LIFE: Final = 8
LOSS_EVERY: Final = 12.0
_PAUSE: Final = 0.2
#: Of so many offers one is missed, and one declined (by one person only: the others still can take it).
_OF: Final = 8


class People:
    """`losses` counts presences that ended; once `is_calm`, nobody goes any more."""

    def __init__(self, url: str, timeline: Timeline, seed: int) -> None:
        self.is_calm = False
        self.losses = 0
        self._redis = connect(url, timeout=scaled(20))
        self._timeline = timeline
        self._chance = random.Random(seed)
        self._away: str | None = None
        self._signs = 0

    async def run(self) -> None:
        """Be there until canceled."""
        try:
            await asyncio.gather(self._be_there(), self._go_away(), self._answer())
        finally:
            await self._redis.aclose()

    async def command(self, kind: str, command_id: str, **data: Any) -> None:
        """Write a command until Redis has it; after an outage it may be there twice."""
        document = {"specversion": "1.0", "id": command_id, "source": "/people", "type": f"command.{kind}"}
        fields = {"type": kind, "id": command_id, "command": orjson.dumps(document | {"data": data})}
        while not self._timeline.is_over:
            try:
                await self._redis.xadd(Keys().commands(0), fields)
            except (RedisError, OSError):
                await self._timeline.pause(_PAUSE)
            else:
                return

    async def _be_there(self) -> None:
        while not self._timeline.is_over:
            self._signs += 1
            for name in HUMAN_AGENTS:
                if self.is_calm or name != self._away:
                    await self.command("agent.available", f"sign-{self._signs}-{name}", agent=name, life=LIFE)
            await self._timeline.pause(SIGN_EVERY)

    async def _go_away(self) -> None:
        while not (self.is_calm or self._timeline.is_over):
            await self._timeline.pause(LOSS_EVERY)
            self._away = self._chance.choice(HUMAN_AGENTS)
            self.losses += 1
            await self._timeline.pause(LIFE + SIGN_EVERY)
            self._away = None

    async def _answer(self) -> None:
        stream, position = Keys().participants(0, Target.HUMAN_AGENT), "0-0"
        while not self._timeline.is_over:
            rows: Any = None
            with suppress(RedisError, OSError):
                rows = await self._redis.xread({stream: position}, count=500, block=500)
            if rows is None:
                await self._timeline.pause(_PAUSE)
            for entry_id, fields in rows[0][1] if rows else ():
                event = orjson.loads(fields[b"event"])
                if event["type"] == MADE:
                    await self._decide(event["data"])
                position = entry_id.decode()

    async def _decide(self, made: dict[str, Any]) -> None:
        offer, agent = made["offer"]["id"], made["agent"]["identity"]
        choice = crc32(offer.encode()) % _OF
        if choice == 0:
            return
        is_declined = choice == 1 and agent == HUMAN_AGENTS[0]
        kind = "offer.decline" if is_declined else "offer.accept"
        for _ in range(1 + (choice == _OF - 1)):
            await self.command(kind, f"answer-{offer}", offer=offer, agent=agent)
