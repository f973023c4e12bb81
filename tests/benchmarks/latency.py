"""The time from a webhook's scheduled moment to the entry that a consumer can read, at a light load and at half load.

Known customers write; one receiver, one worker, Redis, the generator and the reading consumer share the cores. Half
load is half of the throughput that the same processes reached just before.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.core.keys import Keys
from tests.benchmarks import webhooks
from tests.benchmarks.beside import NAMESPACE
from tests.benchmarks.customers import start_api
from tests.benchmarks.filled_stream import Stream
from tests.benchmarks.frame import BenchmarkError, Column, Contender, Figure, Measurement, Sample, Scale
from tests.benchmarks.pairs import start_ours, until_done
from tests.benchmarks.processes import PATIENCE, SHARED, cpu_seconds, running_processes
from tests.benchmarks.receiver import CONNECTIONS
from tests.benchmarks.worker import announce

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from router.streams.client.connection import Redis
    from tests.benchmarks.pairs import Pair
    from tests.benchmarks.processes import Child, Processes

LIGHT: Final = 200.0
#: Webhooks for each second of a turn that are sent at full speed to determine half load.
PACE: Final = 3_000
#: Seconds until the first scheduled moment: time for both processes to get ready and to sign all webhooks.
LEAD: Final = 0.5


@dataclass(frozen=True, slots=True)
class LatencyBench:
    """Runs schedules: the sender, the reader, and the pair of processes between them."""

    sender: Child
    reader: Child
    load: Child
    pair: Pair
    senders: webhooks.Senders

    async def throughput(self, count: int) -> float:
        """Return events/s from the first request to the last acknowledgement, with so many webhooks at once."""
        added = await self.pair.between.added()
        order: dict[str, Any] = {
            "port": self.pair.port,
            "connections": CONNECTIONS,
            "seconds": PATIENCE,
            "run": secrets.randbits(60),
        }
        order |= {"requests": count, "senders": asdict(self.senders)}
        answer: dict[str, float] = orjson.loads(await self.load.ask(orjson.dumps(order)))
        if answer["refused"] or answer["requests"] != count:
            raise BenchmarkError(f"{answer['requests']} of {count} answered, {answer['refused']} refused")
        return count / (await until_done(self.pair, added + count) - answer["begun"])

    async def take_turn(self, rate: float, seconds: float) -> Sample:
        """Run a schedule; raises BenchmarkError unless every message is published, once."""
        redis, participants = self.pair.redis, self.pair.participants
        count = max(20, int(rate * seconds))
        info: Any = await redis.xinfo_stream(participants)
        order = {"run": secrets.randbits(60), "requests": count, "rate": rate, "senders": asdict(self.senders)}
        order |= {"begin": time.monotonic() + LEAD + count / 50_000, "port": self.pair.port}
        order |= {"stream": participants, "after": info["last-generated-id"].decode()}
        line, before = orjson.dumps(order), self._used()
        sent, found = (orjson.loads(one) for one in await asyncio.gather(self.sender.ask(line), self.reader.ask(line)))
        self.pair.receiver.check()
        self.pair.worker.check()
        if sent["refused"] or (found["published"], found["entries"]) != (count, count):
            raise BenchmarkError(f"of {count} webhooks {sent['refused']} refused; published: {found}")
        sample = {"rate": rate, **{name: found[name] for name in ("p50_ms", "p99_ms", "max_ms")}}
        sample |= {"late_ms": sent["late_ms"], "events": float(count)}
        for name, used in self._used().items():
            sample[name] = (used - before[name]) / (count / rate) * 100
        return sample

    def _used(self) -> dict[str, float]:
        """Return the CPU seconds of each measured process, if the system has them."""
        children = {"receiver": self.pair.receiver, "worker": self.pair.worker, "reader": self.reader}
        used = {name: cpu_seconds(child.pid) for name, child in children.items()}
        return {name: seconds for name, seconds in used.items() if seconds is not None}


async def start_clock(processes: Processes, redis: Redis, redis_url: str, api: str, customers: int) -> LatencyBench:
    """Start a receiver, a worker, and the programs that send and read, and have all customers announced."""
    children = {}
    for name, command in {
        "load": ("tests.benchmarks.load",),
        "send": ("tests.benchmarks.open_loop", "send", "--redis", redis_url),
        "read": ("tests.benchmarks.open_loop", "read", "--redis", redis_url),
    }.items():
        children[name] = await processes.start(name, "-m", *command, place=SHARED, has_pipes=True)
    inbound = Stream.inbound(redis, Keys())
    pair = await start_ours(processes, inbound, redis_url, api)
    senders = webhooks.Senders(customers)
    await announce(inbound, Keys(), [pair.worker], senders)
    return LatencyBench(children["send"], children["read"], children["load"], pair, senders)


@asynccontextmanager
async def opened(scale: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Start everything, have all customers announced, and determine half load."""
    async with running_processes(SHARED) as (server, redis, processes):
        api = await start_api(processes, "api", 0.0, place=SHARED)
        clock = await start_clock(processes, redis, server.url, api, scale.customers)
        half = await clock.throughput(max(200, int(PACE * scale.seconds))) / 2
        contenders = [
            _contender("light", f"{LIGHT:g} events/s", clock, LIGHT),
            _contender("half", "half load", clock, half),
        ]
        if scale.beside is not None:
            keys = Keys(NAMESPACE)
            inbound = Stream.inbound(redis, keys)
            pair = await start_ours(processes, inbound, server.url, api, keys=keys, build=scale.beside)
            await announce(inbound, keys, [pair.worker], clock.senders)
            contenders.append(_contender("before", "half load, the other build", replace(clock, pair=pair), half))
        yield contenders


def _contender(name: str, label: str, clock: LatencyBench, rate: float) -> Contender:
    async def take_turn(seconds: float) -> Sample:
        return await clock.take_turn(rate, seconds)

    return Contender(name, label, take_turn)


LATENCY: Final = Measurement(
    name="latency",
    title="End to end: from a webhook's scheduled moment to its entry read by a consumer, known customers",
    columns=(
        Column("rate", "events/s"),
        Column("p50_ms", "p50 ms", 2),
        Column("p99_ms", "p99 ms", 2),
        Column("max_ms", "max ms", 1),
        Column("receiver", "receiver busy %"),
        Column("worker", "worker busy %"),
        Column("reader", "reader busy %"),
        Column("late_ms", "generator late p99 ms", 2),
        Column("events", "events a turn"),
    ),
    figures=(
        Figure("p50", "p50 in ms at 200 events/s", "p50_ms", "light", at_most=5),
        Figure("p99", "p99 in ms at 200 events/s", "p99_ms", "light", at_most=25),
        Figure("half_p50", "p50 in ms at half load", "p50_ms", "half"),
        Figure("half_p99", "p99 in ms at half load", "p99_ms", "half"),
        Figure("p99_over_before", "p99 at half load, ours / the other build", "p99_ms", "half", "before", at_most=1),
    ),
    opened=opened,
)
