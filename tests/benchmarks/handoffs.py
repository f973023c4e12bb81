"""How long a handoff takes: from the request to the offer, and from the acceptance to the entry that tells of it.

A real worker and a real server; conversations of known customers, who are handed to people and given back by them, at
fixed moments. Every person renews their presence meanwhile. The requests are written on schedule, and a time begins at
the moment that the schedule has for it, so a stall counts for everything that fell into it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.core.keys import COMMANDER, Keys, Target
from router.streams.client.connection import connect
from router.streams.store.inspect import has_consumer
from tests.benchmarks import webhooks
from tests.benchmarks.customers import start_api
from tests.benchmarks.filled_stream import Stream
from tests.benchmarks.frame import BenchmarkError, Column, Contender, Figure, Measurement, Sample, Scale
from tests.benchmarks.open_loop import spread
from tests.benchmarks.processes import PATIENCE, SHARED, cpu_seconds, running_processes, settings_of
from tests.benchmarks.worker import announce
from tests.harness.settings import write_config
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from router.streams.client.connection import Redis
    from tests.benchmarks.processes import Child

#: Handoffs per second. Each is three commands: the request, the acceptance, and the release.
RATE: Final = 100.0
#: People, how many conversations each can have, and seconds between two renewals of the presence of one.
PEOPLE, CAPACITY, RENEWAL = 100, 10, 10.0
_LIFE: Final = 60


@dataclass(slots=True)
class Turn:
    """The times of a turn, in seconds, by what is measured; `due` and `accepted` by conversation."""

    due: dict[str, float] = field(default_factory=dict)
    accepted: dict[str, float] = field(default_factory=dict)
    offer: list[float] = field(default_factory=list)
    holder: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    returned: int = 0


class HandoffBench:
    """Hands conversations to people and back; `conversations` are those of the customers."""

    def __init__(self, redis: Redis, reading: Redis, worker: Child, conversations: Sequence[str]) -> None:
        self._redis = redis
        self._reading = reading
        self._worker = worker
        self._conversations = list(conversations)
        self._keys = Keys()
        self._position: Any = "0"
        self._renewals = 0

    async def take_turn(self, seconds: float) -> Sample:
        """Hand over on schedule for so long; raises BenchmarkError unless everybody has their conversation back."""
        count, turn, used = max(10, int(RATE * seconds)), Turn(), cpu_seconds(self._worker.pid)
        begun = time.monotonic()
        try:
            async with asyncio.timeout(seconds + scaled(PATIENCE)), asyncio.TaskGroup() as group:
                group.create_task(self._renew(turn, count))
                group.create_task(self._read(turn, count))
                group.create_task(self._request(turn, begun, count))
        except TimeoutError as error:
            raise BenchmarkError(f"{count} requests, {len(turn.offer)} offers, {turn.returned} returned") from error
        self._worker.check()
        sample = {f"offer_{name}": value for name, value in spread(turn.offer).items()}
        sample |= {f"holder_{name}": value for name, value in spread(turn.holder).items()}
        sample |= {"late_ms": spread(turn.late)["p99_ms"], "handoffs": float(count)}
        now = cpu_seconds(self._worker.pid)
        if used is not None and now is not None:
            sample["worker_us"] = (now - used) / count * 1_000_000
        return sample

    async def arrive(self, number: int) -> None:
        """Let a person be present."""
        await self._command("agent.available", agent=_person(number), life=_LIFE)

    async def _renew(self, turn: Turn, count: int) -> None:
        """Renew everybody's presence, one after the other, until the turn is over."""
        while turn.returned < count:
            await self.arrive(self._renewals % PEOPLE)
            self._renewals += 1
            await asyncio.sleep(RENEWAL / PEOPLE)

    async def _request(self, turn: Turn, begun: float, count: int) -> None:
        """Write the requests on schedule, of each conversation in turn."""
        for number in range(count):
            conversation = self._conversations.pop(0)
            self._conversations.append(conversation)
            due = begun + number / RATE
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            turn.late.append(time.monotonic() - due)
            turn.due[conversation] = due
            await self._command(
                "handoff.request", conversation=conversation, reason="wants a person", summary="About a refund."
            )

    async def _read(self, turn: Turn, count: int) -> None:
        """Read entries as a person's program does; accept each offer, and give back what is held."""
        stream = self._keys.participants(0, Target.HUMAN_AGENT)
        while turn.returned < count:
            rows: Any = await self._reading.xread({stream: self._position}, count=500, block=1000)
            now = time.monotonic()
            for _, found in rows or ():
                self._position = found[-1][0]
                for _, fields in found:
                    if fields[b"type"] in (b"offer.made", b"holder.changed"):
                        await self._take(turn, fields[b"type"], orjson.loads(fields[b"event"])["data"], now)

    async def _take(self, turn: Turn, kind: bytes, data: dict[str, Any], now: float) -> None:
        conversation = data["conversation"]["id"]
        if kind == b"offer.made":
            turn.offer.append(now - turn.due.pop(conversation))
            turn.accepted[conversation] = time.monotonic()
            await self._command("offer.accept", offer=data["offer"]["id"], agent=data["agent"]["identity"])
        elif data["to"]["target"] == Target.HUMAN_AGENT:
            turn.holder.append(now - turn.accepted.pop(conversation))
            agent, epoch = data["to"]["agent"], data["epoch"]
            await self._command("conversation.release", conversation=conversation, agent=agent, epoch=epoch)
        else:
            turn.returned += 1

    async def _command(self, kind: str, **data: Any) -> None:
        name = secrets.token_hex(8)
        event = {"specversion": "1.0", "id": name, "source": "/benchmark", "type": f"command.{kind}", "data": data}
        fields: Any = {"type": kind, "id": name, "command": orjson.dumps(event)}
        await self._redis.xadd(self._keys.commands(0), fields)


def _person(number: int) -> str:
    return f"person-{number}"


@asynccontextmanager
async def opened(scale: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Start a worker, have all customers announced, and let everybody be present."""
    async with running_processes(SHARED) as (server, redis, processes):
        people = [_person(number) for number in range(PEOPLE)]
        config = write_config(processes.directory, *people, capacity=CAPACITY)
        api = await start_api(processes, "api", 0.0, place=SHARED)
        inbound = Stream.inbound(redis, Keys())
        await inbound.create()
        environment = settings_of(server.url, api) | {"ROUTER_CONFIG_DIR": str(config)}
        worker = await processes.start("worker", "-m", "router", "work", environment=environment, place=SHARED)
        await announce(inbound, Keys(), [worker], webhooks.Senders(scale.customers))
        rows: Any = await redis.xrange(Keys().participants(0, Target.AI_AGENT))
        announced = {orjson.loads(fields[b"event"])["data"]["conversation"]["id"]: None for _, fields in rows}
        await processes.until("commands are read", partial(has_consumer, redis, Keys(), Keys().commands(0), COMMANDER))
        reading = connect(server.url, timeout=30)
        try:
            bench = HandoffBench(redis, reading, worker, list(announced))
            for number in range(PEOPLE):
                await bench.arrive(number)
            yield [Contender("handoffs", f"{RATE:g} handoffs/s", bench.take_turn)]
        finally:
            await reading.aclose()


HANDOFFS: Final = Measurement(
    name="handoffs",
    title=f"Handoffs: request to offer, acceptance to holder; {PEOPLE} people, who give each conversation back",
    columns=(
        Column("offer_p50_ms", "offer p50 ms", 2),
        Column("offer_p99_ms", "p99 ms", 2),
        Column("offer_max_ms", "max ms", 1),
        Column("holder_p50_ms", "holder p50 ms", 2),
        Column("holder_p99_ms", "p99 ms", 2),
        Column("holder_max_ms", "max ms", 1),
        Column("worker_us", "worker CPU us each"),
        Column("late_ms", "generator late p99 ms", 2),
        Column("handoffs", "handoffs a turn"),
    ),
    figures=(
        Figure("offer_p50", "request to offer, p50 in ms", "offer_p50_ms", "handoffs"),
        Figure("offer_p99", "request to offer, p99 in ms", "offer_p99_ms", "handoffs", at_most=25),
        Figure("holder_p50", "acceptance to holder, p50 in ms", "holder_p50_ms", "handoffs"),
        Figure("holder_p99", "acceptance to holder, p99 in ms", "holder_p99_ms", "handoffs", at_most=25),
    ),
    opened=opened,
)
