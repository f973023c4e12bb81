"""What it costs to give a waiting conversation to an agent: few agents with a short line, and many with a long one.

Both desks are in one server and take turns. Each placement is a conversation that joins the line, and an agent who
becomes free, gets the one that has waited longest and is asked, with all that the worker says to the desk on the way:
four runs of its script. So the line keeps its length. The two are compared by the CPU time of the server: the client's,
the same on both sides, would hide a difference.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from router.core.keys import Keys
from router.core.routing.choice import Need
from router.core.routing.wishes import AgentCard, Wish
from router.streams.client.gathering import make_gathering_client
from router.streams.store.desk import Desk
from tests.benchmarks.frame import BenchmarkError, Column, Contender, Figure, Measurement, Sample, Scale
from tests.benchmarks.processes import running_processes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from router.streams.client.connection import Redis

#: Agents and waiting conversations of the small desk; those of the large one for each customer of the scale, so that
#: the usual 500 make 1,000 agents and 50,000 conversations.
FEW, SHORT = 10, 100
MANY, LONG = 2, 100
#: Skills, of which each agent has one and each conversation needs one.
SKILLS: Final = tuple(f"skill-{number}" for number in range(8))
#: Conversations that end at the same time, as the worker's window would have it.
TOGETHER: Final = FEW
#: Operations at the same time where they are many.
_AT_ONCE: Final = 100
_DAY: Final = 86_400_000


@dataclass(slots=True)
class Line:
    """A desk whose agents are all busy, each with one conversation, and its line."""

    desk: Desk
    redis: Redis
    agents: int
    waiting: int
    begun: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    joined: int = 0
    held: list[str] = field(default_factory=list)

    async def fill(self) -> None:
        """Let the agents arrive and get a conversation each; then the line forms."""
        cards = [AgentCard(f"a{number}", "Agent", 1, (_skill(number),)) for number in range(self.agents)]
        await _some_at_once((self.desk.arrive, card, self.begun + _DAY) for card in cards)
        await _some_at_once((self.join, number) for number in range(self.agents))
        self.held = await self._ask(self.agents)
        if len(self.held) != self.agents:
            raise BenchmarkError(f"{len(self.held)} of {self.agents} agents have a conversation")
        self.joined = self.agents + self.waiting
        await _some_at_once((self.join, number) for number in range(self.agents, self.joined))

    async def join(self, number: int) -> None:
        """Let one more conversation need an agent."""
        await self.desk.settle(f"w{number}", 1, self._wish(number))

    async def place(self) -> int:
        """Let some conversations end, and as many join the line; returns how many left it."""
        ended, self.held = self.held[:TOGETHER], self.held[TOGETHER:]
        await asyncio.gather(*(self.join(self.joined + number) for number in range(len(ended))))
        self.joined += len(ended)
        await asyncio.gather(*(self.desk.settle(name, 3, Wish(is_over=True)) for name in ended))
        placed = await self._ask(2 * TOGETHER)
        if len(placed) != len(ended):
            raise BenchmarkError(f"{len(ended)} agents became free, {len(placed)} conversations found one")
        self.held += placed
        return len(placed)

    async def _ask(self, limit: int) -> list[str]:
        """Let the agents be asked who have got a conversation; returns these conversations."""

        async def ask(name: str) -> None:
            found = await self.desk.settle(name, 1, self._wish(int(name[1:])))
            asked = await self.desk.settle(name, 2, Wish(asked=found.agent))
            if found.agent is None or asked.is_lost:
                raise BenchmarkError(f"{name} has no agent any more")

        names = (await self.desk.round(limit)).placed
        await _some_at_once((ask, name) for name in names)
        return names

    def _wish(self, number: int) -> Wish:
        need = Need(skills=frozenset({_skill(number)}), channel="SMS", since=self.begun + number)
        return Wish(queue="default", need=need)

    async def take_turn(self, seconds: float) -> Sample:
        """Place for so long."""
        placed, before, begun = 0, await self._server_us(), time.perf_counter()
        while time.perf_counter() - begun < seconds:
            placed += await self.place()
        took = time.perf_counter() - begun
        used = await self._server_us() - before
        return {"per_second": placed / took, "server_us": used / placed, "placements": float(placed)}

    async def _server_us(self) -> float:
        """Return the µs of CPU that the server has used so far."""
        row: Any = await self.redis.info("cpu")
        return (float(row["used_cpu_user"]) + float(row["used_cpu_sys"])) * 1_000_000


def _skill(number: int) -> str:
    return SKILLS[number % len(SKILLS)]


async def _some_at_once(works: Iterable[tuple[Any, ...]]) -> None:
    """Call each function with its arguments, and await it, so many at the same time."""
    left = iter(works)

    async def work() -> None:
        for function, *arguments in left:
            await function(*arguments)

    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))


@asynccontextmanager
async def opened(scale: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Fill both desks."""
    many, long = MANY * scale.customers, LONG * scale.customers
    async with running_processes() as (_, redis, _):
        client = make_gathering_client(redis)

        async def fill(name: str, agents: int, waiting: int) -> Contender:
            desk = Desk(client, Keys(name), clock=lambda: time.time_ns() // 1_000_000)
            line = Line(desk, redis, agents, waiting)
            await line.fill()
            return Contender(name, f"{agents:,} agents, {waiting:,} waiting", line.take_turn)

        yield [await fill("small", FEW, SHORT), await fill("large", many, long)]


PLACING: Final = Measurement(
    name="placing",
    title="Desk: a conversation joins the line, an agent becomes free and gets the one that has waited longest",
    columns=(
        Column("per_second", "placements/s"),
        Column("server_us", "server CPU us each", 1),
        Column("placements", "placements a turn"),
    ),
    figures=(
        Figure("large_over_small", "CPU of the server, large / small", "server_us", "large", "small", at_most=1.3),
        Figure("per_second", "placements/s, large", "per_second", "large", at_least=1500),
    ),
    opened=opened,
)
