"""The whole way: signed webhooks of customers who never wrote, from the first request to the last event settled.

One receiver and one worker of ours beside a receiver and a worker written by hand (`straightforward` and `pair`), each
with an API of its own that answers in 5 ms, all on the same cores with Redis and the generator. Every turn has new
customers, each of whom writes five times, and begins with empty streams; afterwards the books are made.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.core.entries import CommunicationData, JoinedData
from router.core.keys import Keys, Target
from router.streams.client.embedded import free_port
from tests.benchmarks import webhooks
from tests.benchmarks.customers import start_api
from tests.benchmarks.filled import Stream
from tests.benchmarks.frame import BenchmarkError, Column, Contender, Figure, Measurement, Sample, Scale
from tests.benchmarks.memory import can_measure, resident
from tests.benchmarks.pair import PARTICIPANTS
from tests.benchmarks.processes import PATIENCE, SHARED, Processes, clean_environment, cpu_seconds, real_redis
from tests.benchmarks.receiver import CONNECTIONS, settings_of
from tests.benchmarks.worker import environment_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from tests.benchmarks.processes import Child

#: Seconds in which the API answers, webhooks of a customer, and webhooks for each second of a turn: 20,000 of 4,000.
LATENCY: Final = 0.005
EACH: Final = 5
PACE: Final = 20_000 / 3
#: Seconds between two looks at what is acknowledged: seldom, because looking takes from the same cores.
LOOK: Final = 0.01


@dataclass(frozen=True, slots=True)
class Way:
    """A receiver with its worker: where webhooks go in, the stream between the two, and where entries come out."""

    label: str
    receiver: Child
    worker: Child
    port: int
    inbound: Stream
    participants: str
    address_of: Callable[[dict[str, Any]], str]
    message_of: Callable[[dict[str, Any]], str]


class Road:
    """Lets new customers write, and makes the books."""

    def __init__(self, load: Child, redis_pid: int) -> None:
        self._load = load
        self._redis_pid = redis_pid
        self._met = 0
        self._events: Counter[str] = Counter()

    async def take_turn(self, way: Way, seconds: float) -> Sample:
        """Send so many webhooks as fast as they are answered, and wait for the last acknowledgement."""
        customers = max(40, round(PACE * seconds / EACH))
        count, first = customers * EACH, self._met
        self._met += customers
        pids = {"receiver_us": way.receiver.pid, "worker_us": way.worker.pid, "redis_us": self._redis_pid}
        before = {metric: cpu_seconds(pid) for metric, pid in pids.items()}
        added = await _added(way.inbound)
        answer = await self._shoot(way, count, webhooks.Crowd(customers, first))
        elapsed = await until_done(way, added + count) - answer["begun"]
        sample = {
            "events": float(count),
            "per_second": count / elapsed,
            "taken": answer["requests"] / answer["elapsed"],
        }
        for metric, pid in pids.items():
            used, now = before[metric], cpu_seconds(pid)
            if used is not None and now is not None:
                sample[metric] = (now - used) / count * 1_000_000
        if {"receiver_us", "worker_us"} <= sample.keys():
            sample["cpu_seconds"] = (sample["receiver_us"] + sample["worker_us"]) / 100
        await _make_books(way, count, customers)
        self._events[way.label] += count
        sample["so_far"] = float(self._events[way.label])
        if can_measure():
            sample |= {"receiver_mib": resident(way.receiver.pid), "worker_mib": resident(way.worker.pid)}
        return sample

    async def _shoot(self, way: Way, count: int, crowd: webhooks.Crowd) -> dict[str, float]:
        order: dict[str, Any] = {
            "port": way.port,
            "connections": CONNECTIONS,
            "seconds": PATIENCE,
            "run": secrets.randbits(60),
        }
        order |= {"requests": count, "crowd": asdict(crowd)}
        answer: dict[str, float] = orjson.loads(await self._load.ask(orjson.dumps(order)))
        way.receiver.check()
        if answer["refused"] or answer["requests"] != count:
            raise BenchmarkError(f"{way.label}: {answer['requests']} of {count} answered, {answer['refused']} refused")
        return answer


async def _added(stream: Stream) -> int:
    row: Any = await stream.redis.xinfo_stream(stream.name)
    return int(row["entries-added"])


async def until_done(way: Way, added: int) -> float:
    """Return when (of `time.monotonic`) so many entries have ever been added, and all of them are acknowledged."""
    deadline = time.monotonic() + PATIENCE
    while True:
        now = time.monotonic()
        rows: Any = await way.inbound.redis.xinfo_groups(way.inbound.name)
        row = next(row for row in rows if row["name"].decode() == way.inbound.group)
        if row["entries-read"] == added and not row["pending"]:
            return now
        if now > deadline:
            raise BenchmarkError(f"{way.label}: {row['entries-read']} of {added} read, {row['pending']} pending")
        way.worker.check()
        await asyncio.sleep(LOOK)


async def _make_books(way: Way, count: int, customers: int) -> None:
    """See that every webhook is one entry, every customer joined once, every message was published once; then empty."""
    redis = way.inbound.redis
    stored = await redis.xlen(way.inbound.name)
    joined: Counter[str] = Counter()
    said: Counter[str] = Counter()
    rows: Any = await redis.xrange(way.participants)
    for _, fields in rows:
        data = orjson.loads(fields[b"event"])["data"]
        if fields[b"type"] == JoinedData.type.encode():
            joined[way.address_of(data)] += 1
        elif fields[b"type"] == CommunicationData.type.encode():
            said[way.message_of(data)] += 1
    books = (stored, joined.total(), len(joined), said.total(), len(said))
    if books != (count, customers, customers, count, count):
        raise BenchmarkError(f"{way.label}: of {count} webhooks of {customers}: stored, joined, said: {books}")
    for stream in (way.inbound.name, way.participants):
        await redis.xtrim(stream, maxlen=0, approximate=False)


@asynccontextmanager
async def opened(scale: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Start both ways, their APIs, the generator and Redis."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        directory = Path(temporary)
        async with real_redis(directory / "redis", SHARED) as (server, redis), Processes(directory) as processes:
            environment = clean_environment({})
            load = await processes.start(
                "load", "-m", "tests.benchmarks.load", environment=environment, place=SHARED, has_pipes=True
            )
            keys = Keys()
            rival = Stream(redis, "straightforward", "rival")
            apis = [await start_api(processes, f"api-{name}", LATENCY, place=SHARED) for name in ("ours", "pair")]
            ways = {
                "ours": await start_ours(processes, Stream.inbound(redis, keys), server.url, apis[0]),
                "pair": await _start_pair(processes, rival, server.url, apis[1]),
            }
            road = Road(load, server.process.pid)
            yield [_contender(name, way, road) for name, way in ways.items()]


def _contender(name: str, way: Way, road: Road) -> Contender:
    async def take_turn(seconds: float) -> Sample:
        return await road.take_turn(way, seconds)

    return Contender(name, way.label, take_turn)


async def start_ours(processes: Processes, inbound: Stream, redis_url: str, api: str) -> Way:
    """Start a receiver and a worker of ours, on the shared cores, and return them once both can work."""
    port = free_port()
    await inbound.create()
    receiver = await processes.start(
        "receiver",
        *("-m", "router", "receive", "--host", "127.0.0.1", "--port", str(port)),
        environment=clean_environment(settings_of(redis_url)),
        place=SHARED,
    )
    worker = await processes.start(
        "worker", "-m", "router", "work", environment=environment_of(redis_url, api), place=SHARED
    )
    await processes.until_listening(receiver, port)
    return Way(
        label="receiver + worker",
        receiver=receiver,
        worker=worker,
        port=port,
        inbound=inbound,
        participants=Keys().participants(0, Target.AI_AGENT),
        address_of=lambda data: str(data["address"]),
        message_of=lambda data: str(data["communication"]["channel_id"]),
    )


async def _start_pair(processes: Processes, inbound: Stream, redis_url: str, api: str) -> Way:
    port, environment = free_port(), clean_environment({})
    await inbound.create()
    rivals = ("-m", "tests.benchmarks.rivals")
    receiver = await processes.start(
        "pair-receiver",
        *(*rivals, "straightforward", "--port", str(port), "--redis", redis_url),
        environment=environment,
        place=SHARED,
    )
    worker = await processes.start(
        "pair-worker",
        *(*rivals, "pair", "--redis", redis_url, "--api", api, "--stream", inbound.name, "--group", inbound.group),
        environment=environment,
        place=SHARED,
    )
    await processes.until_listening(receiver, port)
    return Way(
        label="hand-written pair",
        receiver=receiver,
        worker=worker,
        port=port,
        inbound=inbound,
        participants=PARTICIPANTS,
        address_of=lambda data: str(data["address"]),
        message_of=lambda data: str(data["channel_id"]),
    )


WHOLE: Final = Measurement(
    name="whole",
    title=f"The whole way: new customers, {EACH} SMS each, API of {LATENCY * 1000:g} ms, all on the same cores",
    columns=(
        Column("per_second", "events/s"),
        Column("taken", "webhooks/s"),
        Column("cpu_seconds", "CPU s/10,000", 2),
        Column("receiver_us", "receiver us", 1),
        Column("worker_us", "worker us", 1),
        Column("redis_us", "Redis us", 1),
        Column("events", "events a turn"),
    ),
    figures=(
        Figure("ours_over_pair", "events/s, ours / hand-written pair", "per_second", "ours", "pair", at_least=1.4),
        Figure("cpu", "CPU s per 10,000 events, receiver + worker", "cpu_seconds", "ours", at_most=3.5),
        Figure("cpu_pair", "the same, hand-written pair", "cpu_seconds", "pair"),
        Figure("receiver_mib", "memory of the receiver, MiB", "receiver_mib", "ours", at_most=90),
        Figure("worker_mib", "memory of the worker, MiB", "worker_mib", "ours", at_most=120),
        Figure("so_far", "events by then", "so_far", "ours"),
    ),
    opened=opened,
)
