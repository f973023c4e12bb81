"""The whole path: signed webhooks of new customers, from the first request to the last event settled.

One receiver and one worker of ours beside a receiver and a worker written by hand (`straightforward` and `pair`), and
Express with BullMQ where Node.js is there: each pair with an API of its own that answers in 5 ms, all on the same cores
with Redis and the generator. Every turn has new customers, each of whom writes five times, and begins with empty
streams; afterwards every event is accounted for.
"""

from __future__ import annotations

import secrets
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.core.entries import CommunicationData, JoinedData
from router.core.keys import Keys
from tests.benchmarks import webhooks
from tests.benchmarks.beside import NAMESPACE
from tests.benchmarks.customers import start_api
from tests.benchmarks.filled_stream import Stream
from tests.benchmarks.frame import BenchmarkError, Column, Contender, Figure, Measurement, Sample, Scale
from tests.benchmarks.memory import can_measure, resident
from tests.benchmarks.pairs import OWN, Pair, start_express, start_handwritten, start_ours, until_done
from tests.benchmarks.processes import PATIENCE, SHARED, cpu_seconds, running_processes
from tests.benchmarks.receiver import CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.benchmarks.processes import Child

#: Seconds of a response of the API, webhooks of a customer, webhooks for each second of a turn (20,000 of 4,000).
LATENCY: Final = 0.005
EACH: Final = 5
PACE: Final = 20_000 / 3


class WholeBench:
    """Sends messages of new customers, and accounts for every event."""

    def __init__(self, load: Child, redis_pid: int) -> None:
        self._load = load
        self._redis_pid = redis_pid
        self._seen = 0
        self._events: Counter[str] = Counter()

    async def take_turn(self, pair: Pair, seconds: float) -> Sample:
        """Send webhooks as fast as they are answered, and wait for the last acknowledgment; streams are empty then."""
        customers = max(40, round(PACE * seconds / EACH))
        sample = await self.pass_through(pair, customers)
        await pair.empty()
        self._events[pair.label] += customers * EACH
        sample["so_far"] = float(self._events[pair.label])
        if can_measure():
            sample |= {"receiver_mib": resident(pair.receiver.pid), "worker_mib": resident(pair.worker.pid)}
        return sample

    async def pass_through(self, pair: Pair, customers: int) -> Sample:
        """Send the webhooks of so many new customers, wait for the last acknowledgment, and check what came of them."""
        count, first = customers * EACH, self._seen
        self._seen += customers
        pids = {"receiver_us": pair.receiver.pid, "worker_us": pair.worker.pid, "redis_us": self._redis_pid}
        before = {metric: cpu_seconds(pid) for metric, pid in pids.items()}
        added = await pair.between.added()
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


async def _check_results(pair: Pair, count: int, customers: int) -> None:
    """Check that each customer joined once and each message was published once; `until_done` has seen all webhooks."""
    joined: Counter[str] = Counter()
    messages: Counter[str] = Counter()
    rows: Any = await pair.redis.xrange(pair.participants)
    for _, fields in rows:
        data = orjson.loads(fields[b"event"])["data"]
        if fields[b"type"] == JoinedData.type.encode():
            joined[data["address"]] += 1
        elif fields[b"type"] == CommunicationData.type.encode():
            messages[pair.message_of(data)] += 1
    counts = (joined.total(), len(joined), messages.total(), len(messages))
    if counts != (customers, customers, count, count):
        raise BenchmarkError(f"{pair.label}: of {count} webhooks of {customers}: joined, messages: {counts}")


@asynccontextmanager
async def opened(scale: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Start all pairs, their APIs, the generator and Redis."""
    async with running_processes(SHARED) as (server, redis, processes):

        async def start_own_api(name: str) -> str:
            return await start_api(processes, f"api-{name}", LATENCY, place=SHARED)

        load = await processes.start("load", "-m", "tests.benchmarks.load", place=SHARED, has_pipes=True)
        inbound = Stream.inbound(redis, OWN)
        pairs = {
            "ours": await start_ours(processes, inbound, server.url, await start_own_api("ours")),
            "pair": await start_handwritten(processes, redis, server.url, await start_own_api("pair")),
        }
        if scale.express is not None:
            api = await start_own_api("express")
            pairs["express"] = await start_express(processes, redis, server.url, api, scale.express)
        if scale.beside is not None:
            api, keys = await start_own_api("before"), Keys(NAMESPACE)
            pairs["before"] = await start_ours(
                processes, Stream.inbound(redis, keys), server.url, api, keys=keys, build=scale.beside
            )
        bench = WholeBench(load, server.pid)
        yield [_contender(name, pair, bench) for name, pair in pairs.items()]


def _contender(name: str, pair: Pair, bench: WholeBench) -> Contender:
    async def take_turn(seconds: float) -> Sample:
        return await bench.take_turn(pair, seconds)

    return Contender(name, pair.label, take_turn)


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
        Figure("ours_over_express", "events/s, ours / Express + BullMQ", "per_second", "ours", "express", at_least=2.0),
        Figure("cpu_over_express", "CPU, ours / Express + BullMQ", "cpu_seconds", "ours", "express"),
        Figure("ours_over_pair", "events/s, ours / hand-written pair", "per_second", "ours", "pair", at_least=2.0),
        Figure("cpu_over_pair", "CPU, ours / hand-written pair", "cpu_seconds", "ours", "pair", at_most=0.42),
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
