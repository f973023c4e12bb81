"""How many new customers one worker process takes in, with an API that answers at once and one that takes 100 ms.

Every entry is the first message of somebody who never wrote. The worker has a core to itself; the API is the lean one
(lean_api.py), on the generator's core, and all of them live at once: a worker each, in a namespace of its own.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from router.core.entries import JoinedData
from router.core.keys import Keys, Target
from router.streams.client.embedded import free_port
from tests.benchmarks import webhooks
from tests.benchmarks.filled import Stream
from tests.benchmarks.frame import BenchmarkError, Column, Contender, Figure, Measurement, Sample, Scale
from tests.benchmarks.lean_api import COUNTS
from tests.benchmarks.processes import GENERATOR, Processes, clean_environment, cpu_seconds, real_redis
from tests.benchmarks.worker import environment_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from router.streams.client.connection import Redis
    from tests.benchmarks.processes import Child

#: New customers for each second of a turn. More than a worker gets through: a turn begins and ends with an answer's
#: time, in which a worker has little to do, and that shall not be what is measured.
PACE: Final = 5_000


@dataclass(frozen=True, slots=True)
class Case:
    """One worker with its API: seconds of an answer, calls at once, and whether the API knows everybody."""

    label: str
    latency: float = 0.0
    has_all: bool = False
    calls: int = 1


CASES: Final = {
    "instant": Case("API answers at once"),
    "late": Case("API answers after 100 ms", latency=0.1),
    "found": Case("at once, conversation exists: 409", has_all=True, calls=2),
}


class Entrance:
    """Lets new customers write to one worker."""

    def __init__(self, stream: Stream, keys: Keys, worker: Child, api: str, session: aiohttp.ClientSession) -> None:
        self._stream = stream
        self._keys = keys
        self._worker = worker
        self._api = api
        self._session = session
        self._met = 0

    async def is_open(self) -> bool:
        """Tell whether the worker reads: it asks the API for its configuration before it does."""
        return await self._stream.has_reader(self._keys)

    async def take_turn(self, seconds: float, calls: int) -> Sample:
        """Let so many write who never did, and see that each of them is announced, by so many calls.

        The time runs from the release: those who come first may all be done together, so that between the first
        acknowledgement and the last there would be less than the work.
        """
        count = max(100, int(PACE * seconds))
        await self._stream.prepare(webhooks.Crowd(count, first=self._met), count)
        self._met += count
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
        """Count the customers who have joined since the last turn, each once, and forget them."""
        participants = self._keys.participants(0, Target.AI_AGENT)
        rows: Any = await self._stream.redis.xrange(participants)
        await self._stream.redis.xtrim(participants, maxlen=0, approximate=False)
        joined = [fields[b"event"] for _, fields in rows if fields[b"type"] == JoinedData.type.encode()]
        addresses = {orjson.loads(event)["data"]["address"] for event in joined}
        return len(addresses) if len(addresses) == len(joined) else -1


@asynccontextmanager
async def opened(scale: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Start Redis, and a worker with its API for each case."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        directory = Path(temporary)
        async with (
            real_redis(directory / "redis") as (server, redis),
            Processes(directory) as processes,
            aiohttp.ClientSession() as session,
        ):
            entrances = [await _open(name, case, redis, server.url, processes, session) for name, case in CASES.items()]
            for entrance in entrances:  # only now: all of them start at once
                await processes.until("the workers read", entrance.is_open)
            yield [
                _contender(name, case, entrance)
                for (name, case), entrance in zip(CASES.items(), entrances, strict=True)
            ]


async def _open(
    name: str, case: Case, redis: Redis, redis_url: str, processes: Processes, session: aiohttp.ClientSession
) -> Entrance:
    keys = Keys(name.replace("_", "-"))
    stream = Stream.inbound(redis, keys)
    await stream.create()
    api = await start_api(processes, f"api-{name}", case.latency, has_all=case.has_all)
    environment = environment_of(redis_url, api, keys.namespace)
    worker = await processes.start(f"worker-{name}", "-m", "router", "work", environment=environment)
    return Entrance(stream, keys, worker, api, session)


async def start_api(
    processes: Processes, name: str, latency: float, *, has_all: bool = False, place: int | None = GENERATOR
) -> str:
    """Start a lean API and return its URL once it listens."""
    port = free_port()
    options = ["--port", str(port), "--latency", str(latency), *(["--has-all"] if has_all else [])]
    child = await processes.start(
        name, "-m", "tests.benchmarks.rivals", "api", *options, environment=clean_environment({}), place=place
    )
    await processes.until_listening(child, port)
    return f"http://127.0.0.1:{port}"


def _contender(name: str, case: Case, entrance: Entrance) -> Contender:
    async def take_turn(seconds: float) -> Sample:
        return await entrance.take_turn(seconds, case.calls)

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
    ),
    opened=opened,
)
