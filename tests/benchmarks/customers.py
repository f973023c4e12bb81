"""New customers per second of one worker process, with an API that answers at once and one that takes 100 ms.

Every entry is the first message of a new customer. The worker has a core to itself; the API is the lean one
(lean_api.py), on the generator's core. All contenders run at the same time, each worker in a namespace of its own.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp
import orjson

from router.core.entries import JoinedData
from router.core.keys import Keys, Target
from router.streams.client.embedded import free_port
from tests.benchmarks import webhooks
from tests.benchmarks.filled_stream import Stream
from tests.benchmarks.frame import BenchmarkError, Column, Contender, Figure, Measurement, Sample, Scale
from tests.benchmarks.lean_api import COUNTS
from tests.benchmarks.processes import GENERATOR, Processes, cpu_seconds, running_processes, settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from router.streams.client.connection import Redis
    from tests.benchmarks.beside import Build
    from tests.benchmarks.processes import Child

#: New customers for each second of a turn, more than a worker can process: a turn begins and ends with the latency of a
#: response, in which a worker has little to do, and which must not dominate the figure.
PACE: Final = 5_000


@dataclass(frozen=True, slots=True)
class Case:
    """One worker with its API: seconds of a response, requests per customer, and whether all customers exist."""

    label: str
    latency: float = 0.0
    has_all: bool = False
    calls: int = 1
    is_beside: bool = False


CASES: Final = {
    "instant": Case("API answers at once"),
    "late": Case("API answers after 100 ms", latency=0.1),
    "found": Case("at once, conversation exists: 409", has_all=True, calls=2),
    "before": Case("API answers at once, the other build", is_beside=True),
}


class NewCustomers:
    """Sends messages of new customers to one worker."""

    def __init__(self, stream: Stream, keys: Keys, worker: Child, api: str, session: aiohttp.ClientSession) -> None:
        self._stream = stream
        self._keys = keys
        self._worker = worker
        self._api = api
        self._session = session
        self._seen = 0

    async def is_reading(self) -> bool:
        """Tell whether the worker reads: before that it requests its configuration from the API."""
        return await self._stream.has_reader(self._keys)

    async def take_turn(self, seconds: float, calls: int) -> Sample:
        """Send the first messages of new customers; each must be announced, with so many requests of the API.

        The time runs from the release, because the first entries may all be acknowledged together: between the first
        acknowledgment and the last there would be less than the work.
        """
        count = max(100, int(PACE * seconds))
        await self._stream.prepare(webhooks.Senders(count, first=self._seen), count)
        self._seen += count
        asked, used, begun = await self._requests(), cpu_seconds(self._worker.pid), time.perf_counter()
        await self._stream.release()
        await self._stream.until_acknowledged([self._worker], count)
        elapsed, now = time.perf_counter() - begun, cpu_seconds(self._worker.pid)
        asked = await self._requests() - asked
        announced = await self._announced()
        if announced != count:
            raise BenchmarkError(f"{self._worker.name}: {announced} of {count} new customers are announced")
        if asked != calls * count:
            raise BenchmarkError(f"{self._worker.name}: {asked} API calls for {count} new customers")
        sample = {"events": float(count), "per_second": count / elapsed, "calls": asked / count}
        if used is not None and now is not None:
            sample["cpu_us"] = (now - used) / count * 1_000_000
            sample["busy"] = (now - used) / elapsed * 100
        return sample

    async def _requests(self) -> int:
        async with self._session.get(self._api + COUNTS) as response:
            return int(orjson.loads(await response.read())["total"])

    async def _announced(self) -> int:
        """Count the customers who joined since the last turn, and delete their entries; -1 if one joined twice."""
        participants = self._keys.participants(0, Target.AI_AGENT)
        rows: Any = await self._stream.redis.xrange(participants)
        await self._stream.redis.xtrim(participants, maxlen=0, approximate=False)
        joined = [fields[b"event"] for _, fields in rows if fields[b"type"] == JoinedData.type.encode()]
        addresses = {orjson.loads(event)["data"]["address"] for event in joined}
        return len(addresses) if len(addresses) == len(joined) else -1


@asynccontextmanager
async def opened(scale: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Start Redis, and a worker with its API for each case."""
    async with running_processes() as (server, redis, processes), aiohttp.ClientSession() as session:
        cases = {name: case for name, case in CASES.items() if scale.beside or not case.is_beside}
        place = _Place(redis, server.url, processes, session, scale.beside)
        all_new_customers = [await _open(name, case, place) for name, case in cases.items()]
        for new_customers in all_new_customers:  # only now, so that all of them start at once
            await processes.until("the workers read", new_customers.is_reading)
        yield [
            _contender(name, case, new_customers)
            for (name, case), new_customers in zip(cases.items(), all_new_customers, strict=True)
        ]


class _Place(NamedTuple):
    """The parts that all cases share."""

    redis: Redis
    redis_url: str
    processes: Processes
    session: aiohttp.ClientSession
    build: Build | None


async def _open(name: str, case: Case, place: _Place) -> NewCustomers:
    keys = Keys(name.replace("_", "-"))
    stream = Stream.inbound(place.redis, keys)
    await stream.create()
    api = await start_api(place.processes, f"api-{name}", case.latency, has_all=case.has_all)
    environment = settings_of(place.redis_url, api, keys.namespace)
    worker = await place.processes.start(
        *(f"worker-{name}", "-m", "router", "work"),
        environment=environment,
        build=place.build if case.is_beside else None,
    )
    return NewCustomers(stream, keys, worker, api, place.session)


async def start_api(
    processes: Processes,
    name: str,
    latency: float,
    *,
    has_all: bool = False,
    is_alone: bool = False,
    place: int | None = GENERATOR,
) -> str:
    """Start a lean API and return its URL once it listens."""
    port = free_port()
    options = ["--port", str(port), "--latency", str(latency)]
    options += ["--has-all"] * has_all + ["--is-alone"] * is_alone
    child = await processes.start(name, "-m", "tests.benchmarks.baselines", "api", *options, place=place)
    await processes.until_listening(child, port)
    return f"http://127.0.0.1:{port}"


def _contender(name: str, case: Case, new_customers: NewCustomers) -> Contender:
    async def take_turn(seconds: float) -> Sample:
        return await new_customers.take_turn(seconds, case.calls)

    return Contender(name, case.label, take_turn)


CUSTOMERS: Final = Measurement(
    name="customers",
    title="Worker: first messages of new customers, from a filled stream",
    columns=(
        Column("per_second", "customers/s"),
        Column("cpu_us", "CPU us/customer", 1),
        Column("busy", "busy %"),
        Column("calls", "API calls each", 1),
        Column("events", "customers a turn"),
    ),
    figures=(
        Figure("late_over_instant", "customers/s, at 100 ms / at once", "per_second", "late", "instant", at_least=0.9),
        Figure("calls_created", "API calls, conversation created", "calls", "instant", at_most=1),
        Figure("calls_found", "API calls, found after 409", "calls", "found", at_most=2),
        Figure("cpu", "CPU us per new customer", "cpu_us", "instant"),
        Figure("cpu_over_before", "CPU, ours / the other build", "cpu_us", "instant", "before", at_most=0.65),
    ),
    opened=opened,
)
