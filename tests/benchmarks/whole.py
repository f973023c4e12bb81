"""The whole path: signed webhooks of new customers, from the first request to the last event settled.

One receiver and one worker of ours beside a receiver and a worker written by hand (`straightforward` and `pair`), each
with an API of its own that answers in 5 ms, all on the same cores with Redis and the generator. Every turn has new
customers, each of whom writes five times, and begins with empty streams; afterwards every event is accounted for.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.core.entries import CommunicationData, JoinedData
from router.core.keys import Keys, Target
from router.streams.client.embedded import free_port
from tests.benchmarks import webhooks
from tests.benchmarks.beside import NAMESPACE
from tests.benchmarks.customers import start_api
from tests.benchmarks.filled_stream import Stream
from tests.benchmarks.frame import BenchmarkError, Column, Contender, Figure, Measurement, Sample, Scale
from tests.benchmarks.handwritten_worker import PARTICIPANTS
from tests.benchmarks.memory import can_measure, resident
from tests.benchmarks.processes import PATIENCE, SHARED, Processes, cpu_seconds, running_processes, settings_of
from tests.benchmarks.receiver import CONNECTIONS
from tests.harness.deployment import count_unfinished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from tests.benchmarks.beside import Build
    from tests.benchmarks.processes import Child

#: Seconds of a response of the API, webhooks of a customer, webhooks for each second of a turn (20,000 of 4,000).
LATENCY: Final = 0.005
#: The keys of this build.
OWN: Final = Keys()
EACH: Final = 5
PACE: Final = 20_000 / 3
#: Seconds between two checks of the acknowledged entries: few, because they use the same cores.
LOOK: Final = 0.01


@dataclass(frozen=True, slots=True)
class Pair:
    """A receiver with its worker: the port for webhooks, the stream between the two, and the stream of entries."""

    label: str
    receiver: Child
    worker: Child
    port: int
    inbound: Stream
    participants: str
    address_of: Callable[[dict[str, Any]], str]
    message_of: Callable[[dict[str, Any]], str]


class WholeBench:
    """Sends messages of new customers, and accounts for every event."""

    def __init__(self, load: Child, redis_pid: int) -> None:
        self._load = load
        self._redis_pid = redis_pid
        self._seen = 0
        self._events: Counter[str] = Counter()

    async def take_turn(self, pair: Pair, seconds: float) -> Sample:
        """Send webhooks as fast as they are answered, and wait for the last acknowledgment."""
        customers = max(40, round(PACE * seconds / EACH))
        count, first = customers * EACH, self._seen
        self._seen += customers
        pids = {"receiver_us": pair.receiver.pid, "worker_us": pair.worker.pid, "redis_us": self._redis_pid}
        before = {metric: cpu_seconds(pid) for metric, pid in pids.items()}
        added = await _added(pair.inbound)
        answer = await self._send(pair, count, webhooks.Senders(customers, first))
        elapsed = await until_done(pair, added + count) - answer["begun"]
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
        await _check_results(pair, count, customers)
        self._events[pair.label] += count
        sample["so_far"] = float(self._events[pair.label])
        if can_measure():
            sample |= {"receiver_mib": resident(pair.receiver.pid), "worker_mib": resident(pair.worker.pid)}
        return sample

    async def _send(self, pair: Pair, count: int, senders: webhooks.Senders) -> dict[str, float]:
        order: dict[str, Any] = {
            "port": pair.port,
            "connections": CONNECTIONS,
            "seconds": PATIENCE,
            "run": secrets.randbits(60),
        }
        order |= {"requests": count, "senders": asdict(senders)}
        answer: dict[str, float] = orjson.loads(await self._load.ask(orjson.dumps(order)))
        pair.receiver.check()
        if answer["refused"] or answer["requests"] != count:
            raise BenchmarkError(f"{pair.label}: {answer['requests']} of {count} answered, {answer['refused']} refused")
        return answer


async def _added(stream: Stream) -> int:
    row: Any = await stream.redis.xinfo_stream(stream.name)
    return int(row["entries-added"])


async def until_done(pair: Pair, added: int) -> float:
    """Return the time (of `time.monotonic`) at which all of `added` entries ever added are acknowledged."""
    deadline = time.monotonic() + PATIENCE
    while True:
        now = time.monotonic()
        rows: Any = await pair.inbound.redis.xinfo_groups(pair.inbound.name)
        row = next(row for row in rows if row["name"].decode() == pair.inbound.group)
        if row["entries-read"] == added and not await count_unfinished(pair.inbound.redis, pair.inbound.name):
            return now
        if now > deadline:
            raise BenchmarkError(f"{pair.label}: {row['entries-read']} of {added} read, {row['pending']} pending")
        pair.worker.check()
        await asyncio.sleep(LOOK)


async def _check_results(pair: Pair, count: int, customers: int) -> None:
    """Check that each webhook is one entry, each customer joined once, each message was published once; then empty."""
    redis = pair.inbound.redis
    stored = await redis.xlen(pair.inbound.name)
    joined: Counter[str] = Counter()
    messages: Counter[str] = Counter()
    rows: Any = await redis.xrange(pair.participants)
    for _, fields in rows:
        data = orjson.loads(fields[b"event"])["data"]
        if fields[b"type"] == JoinedData.type.encode():
            joined[pair.address_of(data)] += 1
        elif fields[b"type"] == CommunicationData.type.encode():
            messages[pair.message_of(data)] += 1
    counts = (stored, joined.total(), len(joined), messages.total(), len(messages))
    if counts != (count, customers, customers, count, count):
        raise BenchmarkError(f"{pair.label}: of {count} webhooks of {customers}: stored, joined, messages: {counts}")
    for stream in (pair.inbound.name, pair.participants):
        await redis.xtrim(stream, maxlen=0, approximate=False)


@asynccontextmanager
async def opened(scale: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Start both pairs, their APIs, the generator and Redis."""
    async with running_processes(SHARED) as (server, redis, processes):
        load = await processes.start("load", "-m", "tests.benchmarks.load", place=SHARED, has_pipes=True)
        baseline = Stream(redis, "straightforward", "baseline")
        apis = [await start_api(processes, f"api-{name}", LATENCY, place=SHARED) for name in ("ours", "pair")]
        pairs = {
            "ours": await start_ours(processes, Stream.inbound(redis, Keys()), server.url, apis[0]),
            "pair": await _start_pair(processes, baseline, server.url, apis[1]),
        }
        bench = WholeBench(load, server.pid)
        if scale.beside is not None:
            api, keys = await start_api(processes, "api-before", LATENCY, place=SHARED), Keys(NAMESPACE)
            pairs["before"] = await start_ours(
                processes, Stream.inbound(redis, keys), server.url, api, keys=keys, build=scale.beside
            )
        yield [_contender(name, pair, bench) for name, pair in pairs.items()]


def _contender(name: str, pair: Pair, bench: WholeBench) -> Contender:
    async def take_turn(seconds: float) -> Sample:
        return await bench.take_turn(pair, seconds)

    return Contender(name, pair.label, take_turn)


async def start_ours(
    processes: Processes,
    inbound: Stream,
    redis_url: str,
    api: str,
    *,
    keys: Keys = OWN,
    build: Build | None = None,
) -> Pair:
    """Start a receiver and a worker of ours, on the shared cores; returns them once both can work."""
    port = free_port()
    await inbound.create()
    receiver = await processes.start(
        f"{keys.namespace}-receiver",
        *("-m", "router", "receive", "--host", "127.0.0.1", "--port", str(port)),
        environment=settings_of(redis_url, namespace=keys.namespace),
        place=SHARED,
        build=build,
    )
    worker = await processes.start(
        f"{keys.namespace}-worker",
        *("-m", "router", "work"),
        environment=settings_of(redis_url, api, keys.namespace),
        place=SHARED,
        build=build,
    )
    await processes.until_listening(receiver, port)
    return Pair(
        label="receiver + worker" + (", the other build" if build is not None else ""),
        receiver=receiver,
        worker=worker,
        port=port,
        inbound=inbound,
        participants=keys.participants(0, Target.AI_AGENT),
        address_of=lambda data: str(data["address"]),
        message_of=lambda data: str(data["communication"]["channel_id"]),
    )


async def _start_pair(processes: Processes, inbound: Stream, redis_url: str, api: str) -> Pair:
    port = free_port()
    await inbound.create()
    program = ("-m", "tests.benchmarks.baselines")
    receiver = await processes.start(
        "pair-receiver",
        *(*program, "straightforward", "--port", str(port), "--redis", redis_url),
        place=SHARED,
    )
    worker = await processes.start(
        "pair-worker",
        *(*program, "pair", "--redis", redis_url, "--api", api, "--stream", inbound.name, "--group", inbound.group),
        place=SHARED,
    )
    await processes.until_listening(receiver, port)
    return Pair(
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
    title=f"The whole path: new customers, {EACH} SMS each, API of {LATENCY * 1000:g} ms, all on the same cores",
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
        Figure("ours_over_before", "events/s, ours / the other build", "per_second", "ours", "before"),
        Figure("cpu_over_before", "CPU, ours / the other build", "cpu_seconds", "ours", "before"),
        Figure("cpu", "CPU s per 10,000 events, receiver + worker", "cpu_seconds", "ours", at_most=3.5),
        Figure("cpu_pair", "the same, hand-written pair", "cpu_seconds", "pair"),
        Figure("receiver_mib", "memory of the receiver, MiB", "receiver_mib", "ours", at_most=90),
        Figure("worker_mib", "memory of the worker, MiB", "worker_mib", "ours", at_most=120),
        Figure("so_far", "events by then", "so_far", "ours"),
    ),
    opened=opened,
)
