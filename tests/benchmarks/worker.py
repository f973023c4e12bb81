"""Events per second that one worker process settles without requests of the API, beside the limits of its consumer.

All read the same entries, each from a stream of its own that is filled in advance (filled_stream.py). A second worker,
in a namespace of its own, writes no stories.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from router.core.entries import JoinedData
from router.core.keys import Keys, Target
from router.streams.client.embedded import free_port
from tests.benchmarks import webhooks
from tests.benchmarks.beside import NAMESPACE
from tests.benchmarks.filled_stream import Stream
from tests.benchmarks.frame import BenchmarkError, Column, Contender, Figure, Measurement, Sample, Scale
from tests.benchmarks.processes import GENERATOR, cpu_seconds, running_processes, settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.benchmarks.processes import Child

LABELS: Final = {
    "raw": "raw XREADGROUP + XACK (limit)",
    "ours": "worker, all cached",
    "silent": "worker, without stories",
    "single": "bare FastStream, one by one",
    "before": "worker, the other build",
}
#: Entries in the stream for each second of a turn: about what each processes in one, except the limit.
PACE: Final = {"raw": 20_000, "ours": 8_000, "silent": 8_000, "before": 8_000, "single": 4_000}
MOST: Final = 100_000
#: The keys and settings of each worker.
WORKERS: Final[dict[str, tuple[Keys, dict[str, str]]]] = {
    "ours": (Keys(), {}),
    "silent": (Keys("silent"), {"ROUTER_NAMESPACE": "silent", "ROUTER_STORY_TTL": "0"}),
    "before": (Keys(NAMESPACE), {"ROUTER_NAMESPACE": NAMESPACE}),
}


class WorkerBench:
    """The customers of all turns, and the sandbox, which counts its requests."""

    def __init__(self, sandbox_url: str, session: aiohttp.ClientSession, scale: Scale) -> None:
        self._sandbox_url = sandbox_url
        self._session = session
        self._senders = webhooks.Senders(scale.customers)

    async def api_calls(self) -> int:
        """Return the number of requests of the public API so far."""
        async with self._session.get(f"{self._sandbox_url}/sandbox/requests") as response:
            return int(orjson.loads(await response.read())["total"])

    async def announce(self, stream: Stream, keys: Keys, worker: Child) -> None:
        """Send a message of every customer, so that all are announced and cached."""
        await announce(stream, keys, [worker], self._senders)

    def contender(self, name: str, stream: Stream, child: Child) -> Contender:
        """Return a consumer as a contender."""

        async def take_turn(seconds: float) -> Sample:
            count = min(MOST, max(200, int(PACE[name] * seconds)))
            await stream.prepare(self._senders, count)
            calls, used = await self.api_calls(), cpu_seconds(child.pid)
            await stream.release()
            rate = await stream.until_acknowledged([child], count)
            now = cpu_seconds(child.pid)
            calls = await self.api_calls() - calls
            if calls:
                raise BenchmarkError(f"{calls} API calls for {count} events whose customers are all known")
            sample = {"events": float(count), "per_second": rate, "api_calls": float(calls)}
            if used is not None and now is not None:
                sample["cpu_us"] = (now - used) / count * 1_000_000
                sample["busy"] = sample["cpu_us"] * rate / 10_000
            return sample

        return Contender(name, LABELS[name], take_turn)


async def announce(stream: Stream, keys: Keys, workers: Sequence[Child], senders: webhooks.Senders) -> None:
    """Send a message of every sender; raises BenchmarkError unless all of them are announced."""
    await stream.prepare(senders, senders.customers)
    await stream.release()
    await stream.until_acknowledged(workers, senders.customers)
    rows: Any = await stream.redis.xrange(keys.participants(0, Target.AI_AGENT))
    announced = sum(fields[b"type"] == JoinedData.type.encode() for _, fields in rows)
    if announced != senders.customers:
        raise BenchmarkError(f"{announced} of {senders.customers} customers are announced")


@asynccontextmanager
async def opened(scale: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Start the sandbox, both workers, both baselines and Redis, and have all customers announced."""
    async with (
        running_processes() as (server, redis, processes),
        aiohttp.ClientSession(headers={"Authorization": webhooks.BASIC}) as session,
    ):
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        environment = settings_of(server.url, url)
        sandbox = await processes.start(
            "sandbox", "-m", "router", "sandbox", "--port", str(port), environment=environment, place=GENERATOR
        )
        await processes.until_listening(sandbox, port)
        bench = WorkerBench(url, session, scale)
        contenders = []
        for baseline in ("raw", "single"):
            stream = Stream(redis, f"baseline:{baseline}", "baseline")
            await stream.create()
            arguments = ("--redis", server.url, "--stream", stream.name, "--group", stream.group)
            child = await processes.start(
                baseline,
                "-m",
                "tests.benchmarks.baselines",
                baseline,
                *arguments,
            )
            contenders.append(bench.contender(baseline, stream, child))
        for name, (keys, settings) in WORKERS.items():
            build = scale.beside if name == "before" else None
            if name == "before" and build is None:
                continue
            inbound = Stream.inbound(redis, keys)
            await inbound.create()
            values = environment | settings
            worker = await processes.start(name, "-m", "router", "work", environment=values, build=build)
            await bench.announce(inbound, keys, worker)
            contenders.insert(-1, bench.contender(name, inbound, worker))
        yield contenders


WORKER: Final = Measurement(
    name="worker",
    title="Worker: messages of known customers, from a filled stream, everything cached",
    columns=(
        Column("per_second", "events/s"),
        Column("cpu_us", "CPU us/event", 1),
        Column("busy", "busy %"),
        Column("events", "events a turn"),
        Column("api_calls", "API calls"),
    ),
    figures=(
        Figure("ours_over_single", "events/s, ours / bare FastStream", "per_second", "ours", "single", at_least=2.5),
        Figure("ours_over_raw", "events/s, ours / raw", "per_second", "ours", "raw"),
        Figure("with_stories", "events/s, with stories / without", "per_second", "ours", "silent", at_least=0.97),
        Figure("cpu_with_stories", "CPU per event, with stories / without", "cpu_us", "ours", "silent", at_most=1.03),
        Figure("cpu_over_single", "CPU per event, bare FastStream / ours", "cpu_us", "single", "ours"),
        Figure("cpu", "CPU us per event, ours", "cpu_us", "ours"),
        Figure("cpu_over_before", "CPU per event, ours / the other build", "cpu_us", "ours", "before", at_most=0.8),
        Figure("api_calls", "API calls in a turn, ours", "api_calls", "ours", at_most=0),
    ),
    opened=opened,
)
