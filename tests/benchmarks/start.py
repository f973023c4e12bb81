"""The time from the start of a process until it can work: `/readyz` answers 200, or the worker reads its stream."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final

import aiohttp

from router.core.keys import Keys
from router.streams.client.embedded import free_port
from tests.benchmarks.customers import start_api
from tests.benchmarks.filled_stream import Stream
from tests.benchmarks.frame import Column, Contender, Figure, Measurement, Sample, Scale
from tests.benchmarks.processes import SHARED, Processes, cpu_seconds, running_processes, settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

#: Seconds between two checks.
LOOK: Final = 0.005


@dataclass(frozen=True, slots=True)
class Starter:
    """Starts a process, waits until it is ready, and ends it."""

    processes: Processes
    name: str
    environment: Mapping[str, str]

    async def take_turn(self, command: Sequence[str], is_ready: Callable[[], Awaitable[bool]]) -> Sample:
        """Return the seconds until it was ready."""
        begun = time.perf_counter()
        child = await self.processes.start(self.name, "-m", *command, environment=self.environment, place=SHARED)
        await self.processes.until(f"{self.name} is ready", is_ready, pause=LOOK)
        sample = {"ready_s": time.perf_counter() - begun}
        used = cpu_seconds(child.pid)
        await self.processes.end(child)
        return sample if used is None else sample | {"cpu_s": used}


@asynccontextmanager
async def opened(_: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Start Redis; everything else is started in a turn. Compiled modules are kept between turns, as usual."""
    numbers = count()
    async with running_processes(SHARED) as (server, redis, processes), aiohttp.ClientSession() as session:
        api = await start_api(processes, "api", 0.0, place=SHARED)  # a worker requests its configuration first

        async def start_receiver(_: float) -> Sample:
            port = free_port()
            command = ("router", "receive", "--host", "127.0.0.1", "--port", str(port))
            receive = Starter(processes, "receive", settings_of(server.url))
            return await receive.take_turn(command, partial(_answers, session, f"http://127.0.0.1:{port}/readyz"))

        async def start_worker(_: float) -> Sample:
            keys = Keys(f"start-{next(numbers)}")  # in which no worker has run
            inbound = Stream.inbound(redis, keys)
            await inbound.create()
            work = Starter(processes, "work", settings_of(server.url, api, keys.namespace))
            return await work.take_turn(("router", "work"), partial(inbound.has_reader, keys))

        yield [Contender("receive", "receive", start_receiver), Contender("work", "work", start_worker)]


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


START: Final = Measurement(
    name="start",
    title="Start: from the start of the process until it can work",
    columns=(Column("ready_s", "ready after s", 2), Column("cpu_s", "CPU s", 2)),
    figures=(
        Figure("receive", "seconds until `receive` is ready", "ready_s", "receive", at_most=1.5),
        Figure("work", "seconds until `work` is ready", "ready_s", "work"),
    ),
    opened=opened,
)
