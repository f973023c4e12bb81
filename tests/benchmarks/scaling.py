"""One, two and three processes: receivers that share a port, workers that share a stream.

No process has a core of its own: the generator and Redis share the same two, as on a small machine. So two processes on
two cores cannot be twice as fast as one.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from router.core.keys import Keys
from router.streams.client.embedded import free_port
from tests.benchmarks import webhooks
from tests.benchmarks.customers import start_api
from tests.benchmarks.filled_stream import Stream
from tests.benchmarks.frame import Column, Contender, Figure, Measurement, Sample, Scale
from tests.benchmarks.processes import SHARED, cpu_seconds, running_processes, settings_of
from tests.benchmarks.receiver import CONNECTIONS, ReceiverBench, checked
from tests.benchmarks.worker import announce

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.benchmarks.processes import Child

NAMES: Final = {"one": 1, "two": 2, "three": 3}
#: Entries for each second of a turn of the workers, and the factor for the number of customers: workers that hold
#: entries of one customer wait for each other, which would be the rule with fewer customers than three workers hold.
PACE: Final = 8_000
MORE_SENDERS: Final = 4
#: Seconds between two checks of the acknowledged entries: few, because they use the same cores.
LOOK: Final = 0.01


@asynccontextmanager
async def opened_receivers(scale: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Start the receivers, the generator and Redis."""
    async with running_processes(SHARED) as (server, redis, processes):
        load = await processes.start("load", "-m", "tests.benchmarks.load", place=SHARED, has_pipes=True)
        field = ReceiverBench(load, redis, server.pid, scale)
        contenders = []
        for name, number in NAMES.items():
            port = free_port()
            command = ("router", "receive", "--host", "127.0.0.1", "--port", str(port), "--processes", str(number))
            values = settings_of(server.url)
            child = await processes.start(name, "-m", *command, environment=values, place=SHARED)
            await processes.until_listening(child, port)
            contenders.append(checked(field.contender(name, _label(number), child, port)))
        yield contenders


def _label(number: int) -> str:
    return f"{number} process" if number == 1 else f"{number} processes"


RECEIVERS: Final = Measurement(
    name="receivers",
    title=f"Receivers: processes that share a port, {CONNECTIONS} connections, generator and Redis on the same cores",
    columns=(
        Column("per_second", "requests/s"),
        Column("p50_ms", "p50 ms", 2),
        Column("p99_ms", "p99 ms", 2),
        Column("cpu_us", "CPU us/request", 1),
        Column("redis_us", "Redis us/request", 1),
        Column("busy", "% of one core"),
        Column("load_busy", "generator busy %"),
    ),
    figures=(
        Figure("two_over_one", "requests/s, 2 processes / 1", "per_second", "two", "one", at_least=1.5),
        Figure("three_over_one", "requests/s, 3 processes / 1", "per_second", "three", "one"),
    ),
    opened=opened_receivers,
)


@asynccontextmanager
async def opened_workers(scale: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Start one, two and three workers, each group in a namespace of its own, and have all customers announced."""
    senders = webhooks.Senders(scale.customers * MORE_SENDERS)
    async with running_processes(SHARED) as (server, redis, processes):
        all_workers = {}
        for name, number in NAMES.items():
            await Stream.inbound(redis, Keys(name)).create()
            api = await start_api(processes, f"api-{name}", 0.0, place=SHARED)
            environment = settings_of(server.url, api, name)
            all_workers[name] = [
                await processes.start(f"{name}-{place}", "-m", "router", "work", environment=environment, place=SHARED)
                for place in range(number)
            ]
        for name, workers in all_workers.items():
            await announce(Stream.inbound(redis, Keys(name)), Keys(name), workers, senders)
        yield [
            _workers_contender(name, Stream.inbound(redis, Keys(name)), workers, senders, server.pid)
            for name, workers in all_workers.items()
        ]


def _workers_contender(
    name: str, stream: Stream, workers: Sequence[Child], senders: webhooks.Senders, redis_pid: int
) -> Contender:
    async def take_turn(seconds: float) -> Sample:
        count = max(200, int(PACE * seconds))
        await stream.prepare(senders, count)
        pids = {"cpu_us": [child.pid for child in workers], "redis_us": [redis_pid]}
        before = {metric: cpu_seconds(*some) for metric, some in pids.items()}
        await stream.release()
        rate = await stream.until_acknowledged(workers, count, look=LOOK)
        sample = {"events": float(count), "per_second": rate}
        for metric, some in pids.items():
            used, now = before[metric], cpu_seconds(*some)
            if used is not None and now is not None:
                sample[metric] = (now - used) / count * 1_000_000
        if "cpu_us" in sample:
            sample["busy"] = sample["cpu_us"] * rate / 10_000
        return sample

    return Contender(name, _label(len(workers)), take_turn)


WORKERS: Final = Measurement(
    name="workers",
    title="Workers: processes that share a stream of known customers, Redis on the same cores",
    columns=(
        Column("per_second", "events/s"),
        Column("cpu_us", "CPU us/event", 1),
        Column("redis_us", "Redis us/event", 1),
        Column("busy", "% of one core"),
        Column("events", "events a turn"),
    ),
    figures=(
        Figure("two_over_one", "events/s, 2 processes / 1", "per_second", "two", "one"),
        Figure("three_over_one", "events/s, 3 processes / 1", "per_second", "three", "one"),
    ),
    opened=opened_workers,
)
