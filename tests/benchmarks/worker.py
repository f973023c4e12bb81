"""How many events one worker process settles when it need not ask the API, beside the limits of its consumer.

All three read the same entries, each from a stream of its own that is filled before they see it (filled.py).
"""

from __future__ import annotations

import tempfile
from contextlib import asynccontextmanager
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
from tests.benchmarks.lean_api import CONFIGURATION
from tests.benchmarks.processes import GENERATOR, Processes, clean_environment, cpu_seconds, real_redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.benchmarks.processes import Child

LABELS: Final = {
    "raw": "raw XREADGROUP + XACK (limit)",
    "ours": "worker, all cached",
    "single": "bare FastStream, one by one",
}
#: Entries put into the stream for each second of a turn: about what each gets through in one, except the limit.
PACE: Final = {"raw": 20_000, "ours": 8_000, "single": 4_000}
MOST: Final = 100_000


class Arena:
    """Where turns are taken: the customers, and the sandbox that counts what it is asked."""

    def __init__(self, sandbox_url: str, session: aiohttp.ClientSession, scale: Scale) -> None:
        self._sandbox_url = sandbox_url
        self._session = session
        self._crowd = webhooks.Crowd(scale.customers)

    async def api_calls(self) -> int:
        """Return how many requests of the public API the sandbox has had."""
        async with self._session.get(f"{self._sandbox_url}/sandbox/requests") as response:
            return int(orjson.loads(await response.read())["total"])

    async def announce(self, stream: Stream, worker: Child) -> None:
        """Let every customer write once, so that all are announced and cached."""
        await announce(stream, Keys(), [worker], self._crowd)

    def contender(self, name: str, stream: Stream, child: Child) -> Contender:
        """Return a consumer as contender."""

        async def take_turn(seconds: float) -> Sample:
            count = min(MOST, max(200, int(PACE[name] * seconds)))
            await stream.prepare(self._crowd, count)
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


async def announce(stream: Stream, keys: Keys, workers: Sequence[Child], crowd: webhooks.Crowd) -> None:
    """Let everybody of a crowd write once; raises BenchmarkError unless each of them is announced by then."""
    await stream.prepare(crowd, crowd.customers)
    await stream.release()
    await stream.until_acknowledged(workers, crowd.customers)
    rows: Any = await stream.redis.xrange(keys.participants(0, Target.AI_AGENT))
    announced = sum(fields[b"type"] == JoinedData.type.encode() for _, fields in rows)
    if announced != crowd.customers:
        raise BenchmarkError(f"{announced} of {crowd.customers} customers are announced")


@asynccontextmanager
async def opened(scale: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Start the sandbox, the worker, both rivals and Redis, and have all customers announced."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        directory = Path(temporary)
        async with (
            real_redis(directory / "redis") as (server, redis),
            Processes(directory) as processes,
            aiohttp.ClientSession(headers={"Authorization": webhooks.BASIC}) as session,
        ):
            port = free_port()
            url = f"http://127.0.0.1:{port}"
            environment = environment_of(server.url, url)
            sandbox = await processes.start(
                "sandbox", "-m", "router", "sandbox", "--port", str(port), environment=environment, place=GENERATOR
            )
            await processes.until_listening(sandbox, port)
            arena = Arena(url, session, scale)
            contenders = []
            for rival in ("raw", "single"):
                stream = Stream(redis, f"rival:{rival}", "rival")
                await stream.create()
                arguments = ("--redis", server.url, "--stream", stream.name, "--group", stream.group)
                child = await processes.start(
                    rival, "-m", "tests.benchmarks.rivals", rival, *arguments, environment=clean_environment({})
                )
                contenders.append(arena.contender(rival, stream, child))
            inbound = Stream.inbound(redis, Keys())
            await inbound.create()
            worker = await processes.start("worker", "-m", "router", "work", environment=environment)
            await arena.announce(inbound, worker)
            contenders.insert(1, arena.contender("ours", inbound, worker))
            yield contenders


def environment_of(redis_url: str, api_url: str, namespace: str = "router") -> dict[str, str]:
    """Return the environment of a worker."""
    settings = {
        "TWILIO_ACCOUNT_SID": webhooks.ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": webhooks.AUTH_TOKEN,
        "TWILIO_CONVERSATIONS_URL": api_url,
        "TWILIO_CONVERSATION_CONFIGURATION_ID": CONFIGURATION,
        "REDIS_URL": redis_url,
        "ROUTER_NAMESPACE": namespace,
        "ROUTER_ROUTE_TTL": "3600",  # cached is what is measured: no route may expire within the run
        "ROUTER_RECONCILE_CALLS": "0",  # no call is an event's then
    }
    return clean_environment(settings)


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
        Figure("cpu_over_single", "CPU per event, bare FastStream / ours", "cpu_us", "single", "ours"),
        Figure("cpu", "CPU us per event, ours", "cpu_us", "ours"),
        Figure("api_calls", "API calls in a turn, ours", "api_calls", "ours", at_most=0),
    ),
    opened=opened,
)
