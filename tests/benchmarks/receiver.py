"""Signed webhooks per second that one receiver process makes durable, beside the limit and the straightforward way."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import orjson

from router.core.keys import Keys
from router.streams.client.embedded import free_port
from tests.benchmarks import webhooks
from tests.benchmarks.beside import NAMESPACE
from tests.benchmarks.frame import BenchmarkError, Column, Contender, Figure, Measurement, Sample, Scale
from tests.benchmarks.processes import GENERATOR, cpu_seconds, running_processes, settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from router.streams.client.connection import Redis
    from tests.benchmarks.processes import Child

CONNECTIONS: Final = 64
#: Webhooks signed in advance for each second of a turn, more than the bare handler can answer; a turn ends with them.
PREPARED: Final = 45_000
RECEIVE: Final = ("router", "receive", "--host", "127.0.0.1")
#: Namespaces of our receivers' keys.
NAMESPACES: Final = {"ours": Keys().namespace, "before": NAMESPACE}
LABELS: Final = {
    "bare": "bare aiohttp handler (limit)",
    "ours": "receiver, one process",
    "straightforward": "post() + SDK + SET NX + XADD",
    "before": "receiver, the other build",
}


class ReceiverBench:
    """The generator and the Redis server of one run, for all servers."""

    def __init__(self, load: Child, redis: Redis, redis_pid: int, scale: Scale) -> None:
        self._load = load
        self._redis = redis
        self._redis_pid = redis_pid
        self._customers = scale.customers

    def contender(self, name: str, label: str, server: Child, port: int) -> Contender:
        """Return a server as a contender."""

        async def take_turn(seconds: float) -> Sample:
            return await self._send(server, port, seconds)

        return Contender(name, label, take_turn)

    async def _send(self, server: Child, port: int, seconds: float) -> Sample:
        await self._redis.flushdb()
        order = {
            "port": port,
            "connections": CONNECTIONS,
            "seconds": seconds,
            "run": secrets.randbits(60),
            "requests": int(PREPARED * seconds),
            "senders": {"customers": self._customers},
        }
        pids = {"cpu_us": server.pid, "redis_us": self._redis_pid}
        before = {metric: cpu_seconds(pid) for metric, pid in pids.items()}
        answer = orjson.loads(await self._load.ask(orjson.dumps(order)))
        server.check()
        if answer["refused"]:
            raise BenchmarkError(f"{server.name} refused {answer['refused']} of {answer['requests']} webhooks")
        sample = {
            "requests": answer["requests"],
            "per_second": answer["requests"] / answer["elapsed"],
            "p50_ms": answer["p50_ms"],
            "p99_ms": answer["p99_ms"],
            "load_busy": answer["busy"] * 100,
        }
        for metric, pid in pids.items():
            used, now = before[metric], cpu_seconds(pid)
            if used is not None and now is not None:
                sample[metric] = (now - used) / answer["requests"] * 1_000_000
        if "cpu_us" in sample:
            sample["busy"] = sample["cpu_us"] * sample["per_second"] / 10_000
        return sample | {"stored": float(await self._stored())}

    async def _stored(self) -> int:
        streams = (Keys().inbound(0), Keys(NAMESPACE).inbound(0), "straightforward")
        return sum([await self._redis.xlen(stream) for stream in streams])


@asynccontextmanager
async def opened(scale: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Start the servers, the generator and Redis."""
    async with running_processes() as (server, redis, processes):
        commands = {
            "bare": ("tests.benchmarks.baselines", "bare"),
            "ours": RECEIVE,
            "straightforward": ("tests.benchmarks.baselines", "straightforward", "--redis", server.url),
        }
        if scale.beside is not None:
            commands["before"] = RECEIVE
        load = await processes.start("load", "-m", "tests.benchmarks.load", place=GENERATOR, has_pipes=True)
        field = ReceiverBench(load, redis, server.pid, scale)
        contenders = []
        for name, command in commands.items():
            port = free_port()
            values = settings_of(server.url, namespace=NAMESPACES[name]) if name in NAMESPACES else None
            build = scale.beside if name == "before" else None
            arguments = ("-m", *command, "--port", str(port))
            child = await processes.start(name, *arguments, environment=values, build=build)
            await processes.until_listening(child, port)
            contenders.append(field.contender(name, LABELS[name], child, port))
        yield [checked(one) for one in contenders]


def checked(contender: Contender) -> Contender:
    """Return a contender that fails if it answers 200 without storing: that would be broken, not fast."""
    if contender.name == "bare":
        return contender

    async def take_turn(seconds: float) -> Sample:
        sample = await contender.take_turn(seconds)
        if sample["stored"] != sample["requests"]:
            raise BenchmarkError(
                f"{contender.name}: {sample['requests']:.0f} webhooks, {sample['stored']:.0f} entries in the stream"
            )
        return sample

    return Contender(contender.name, contender.label, take_turn)


RECEIVER: Final = Measurement(
    name="receiver",
    title=f"Receiver: {CONNECTIONS} connections, {webhooks.SIZE}-byte signed SMS webhooks, append-only file on",
    columns=(
        Column("per_second", "requests/s"),
        Column("p50_ms", "p50 ms", 2),
        Column("p99_ms", "p99 ms", 2),
        Column("cpu_us", "CPU us/request", 1),
        Column("redis_us", "Redis us/request", 1),
        Column("busy", "busy %"),
        Column("load_busy", "generator busy %"),
    ),
    figures=(
        Figure("ours_over_bare", "requests/s, ours / bare", "per_second", "ours", "bare", at_least=0.72),
        Figure(
            "ours_over_straightforward",
            "requests/s, ours / straightforward",
            "per_second",
            "ours",
            "straightforward",
            at_least=3.3,
        ),
        Figure("p99_over_bare", "p99, ours / bare", "p99_ms", "ours", "bare", at_most=2.0),
        Figure("cpu_over_bare", "CPU per request, ours / bare", "cpu_us", "ours", "bare"),
        Figure("cpu_over_before", "CPU per request, ours / the other build", "cpu_us", "ours", "before", at_most=0.72),
        Figure(
            "cpu_over_straightforward", "CPU per request, straightforward / ours", "cpu_us", "straightforward", "ours"
        ),
    ),
    opened=opened,
)
