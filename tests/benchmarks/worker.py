"""How many events one worker process settles when it need not ask the API, beside the limits of its consumer.

All three read the same entries from a stream of their own. Filling it while they read would measure the filling, so
it is filled under another name, group included, and put in place by one RENAME; a contender is timed from outside,
from its first acknowledgement to its last.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from router.core.entries import JoinedData
from router.core.keys import RESOLVER, Keys, Target
from router.core.signature import parse_form
from router.inbound.messaging import identify
from router.streams.append import InboundFields
from router.streams.embedded import free_port
from router.streams.groups import ensure_group
from tests.benchmarks import webhooks
from tests.benchmarks.frame import BenchmarkError, Column, Contender, Figure, Measurement, Sample, Scale
from tests.benchmarks.processes import (
    GENERATOR,
    PATIENCE,
    Processes,
    clean_environment,
    cpu_seconds,
    real_redis,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from router.streams.connection import Redis
    from tests.benchmarks.processes import Child

LABELS: Final = {
    "raw": "raw XREADGROUP + XACK (limit)",
    "ours": "worker, all cached",
    "single": "bare FastStream, one by one",
}
#: Entries put into the stream for each second of a turn: about what each gets through in one, except the limit.
PACE: Final = {"raw": 20_000, "ours": 8_000, "single": 4_000}
MOST: Final = 100_000
_BASIC: Final = aiohttp.encode_basic_auth(webhooks.ACCOUNT_SID, webhooks.AUTH_TOKEN)
#: Seconds between two looks at what is acknowledged.
LOOK: Final = 0.002


class Arena:
    """The Redis server of one run, and the sandbox that counts what it is asked."""

    def __init__(self, redis: Redis, sandbox_url: str, session: aiohttp.ClientSession, scale: Scale) -> None:
        self._redis = redis
        self._sandbox_url = sandbox_url
        self._session = session
        self._customers = scale.customers
        self._count = 0

    async def prepare(self, stream: str, group: str, count: int) -> None:
        """Write `count` messages where nobody reads yet; the customers write in turn."""
        run, draft = secrets.randbits(60), f"{stream}:draft"
        now = time.time_ns() // 1_000_000
        await ensure_group(self._redis, draft, group)
        for start in range(0, count, 5_000):
            pipeline = self._redis.pipeline(transaction=False)
            for number in range(start + 1, min(start + 5_000, count) + 1):
                fields = self._fields(run, number)
                if number >= self._customers:  # as the receiver names it
                    fields += [b"after", f"{now}-{number - self._customers}"]
                pipeline.execute_command("XADD", draft, f"{now}-{number}", *fields)
            await pipeline.execute()

    async def release(self, stream: str) -> None:
        """Let what is prepared, and nothing else, be in a stream from now on."""
        await self._redis.rename(f"{stream}:draft", stream)

    def _fields(self, run: int, number: int) -> list[Any]:
        body = webhooks.form(run, number, self._customers)
        identity = identify(parse_form(body), default_account=webhooks.ACCOUNT_SID)
        received_at = time.time_ns() // 1000
        fields = InboundFields(
            "messaging", identity.account_id, identity.key, identity.subject, received_at, body, ttl=0
        )
        return fields.to_fields()

    async def api_calls(self) -> int:
        """Return how many requests of the public API the sandbox has had."""
        async with self._session.get(f"{self._sandbox_url}/sandbox/requests") as response:
            return int(orjson.loads(await response.read())["total"])

    async def announce(self, stream: str, worker: Child) -> None:
        """Let every customer write once, so that all are announced and cached."""
        await self.prepare(stream, RESOLVER, self._customers)
        await self.release(stream)
        await self._until_acknowledged(stream, RESOLVER, worker, self._customers)
        rows: Any = await self._redis.xrange(Keys().participants(0, Target.AI_AGENT))
        announced = sum(fields[b"type"] == JoinedData.type.encode() for _, fields in rows)
        if announced != self._customers:
            raise BenchmarkError(f"{announced} of {self._customers} customers are announced")

    def contender(self, name: str, stream: str, group: str, child: Child) -> Contender:
        """Return a consumer as contender."""

        async def take_turn(seconds: float) -> Sample:
            count = min(MOST, max(200, int(PACE[name] * seconds)))
            await self.prepare(stream, group, count)
            calls, used = await self.api_calls(), cpu_seconds(child.pid)
            await self.release(stream)
            rate = await self._until_acknowledged(stream, group, child, count)
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

    async def _until_acknowledged(self, stream: str, group: str, child: Child, count: int) -> float:
        """Wait until all `count` entries are acknowledged; returns events/s from the first to the last of them."""
        first: tuple[float, int] | None = None
        deadline = time.monotonic() + PATIENCE
        while True:
            now, done = time.perf_counter(), await self._acknowledged(stream, group, count)
            if first is None and done:
                first = now, done
            if first is not None and done >= count:
                begun, early = first
                return (count - early) / (now - begun) if count > early else float(count)
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{child.name}: {done} of {count} entries acknowledged in {PATIENCE:.0f} s")
            child.check()
            await asyncio.sleep(LOOK)

    async def _acknowledged(self, stream: str, group: str, count: int) -> int:
        """Return how many of the last `count` entries are read and not pending any more."""
        rows: Any = await self._redis.xinfo_groups(stream)
        row = next(row for row in rows if row["name"].decode() == group)
        return count - (row["lag"] or 0) - row["pending"]


@asynccontextmanager
async def opened(scale: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Start the sandbox, the worker, both rivals and Redis, and have all customers announced."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        directory = Path(temporary)
        async with (
            real_redis(directory / "redis") as (server, redis),
            Processes(directory) as processes,
            aiohttp.ClientSession(headers={"Authorization": _BASIC}) as session,
        ):
            port = free_port()
            url, environment = f"http://127.0.0.1:{port}", _environment(server.url, port)
            sandbox = await processes.start(
                "sandbox", "-m", "router", "sandbox", "--port", str(port), environment=environment, place=GENERATOR
            )
            await processes.until_listening(sandbox, port)
            arena = Arena(redis, url, session, scale)
            contenders = []
            for rival in ("raw", "single"):
                stream, group = f"rival:{rival}", "rival"
                await ensure_group(redis, stream, group)
                arguments = ("--redis", server.url, "--stream", stream, "--group", group)
                child = await processes.start(
                    rival, "-m", "tests.benchmarks.rivals", rival, *arguments, environment=clean_environment({})
                )
                contenders.append(arena.contender(rival, stream, group, child))
            inbound = Keys().inbound(0)
            await ensure_group(redis, inbound, RESOLVER)
            worker = await processes.start("worker", "-m", "router", "work", environment=environment)
            await arena.announce(inbound, worker)
            contenders.insert(1, arena.contender("ours", inbound, RESOLVER, worker))
            yield contenders


def _environment(redis_url: str, sandbox_port: int) -> dict[str, str]:
    settings = {
        "TWILIO_ACCOUNT_SID": webhooks.ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": webhooks.AUTH_TOKEN,
        "TWILIO_CONVERSATIONS_URL": f"http://127.0.0.1:{sandbox_port}",
        "TWILIO_CONVERSATION_CONFIGURATION_ID": "conv_configuration_00000000000000000000000001",
        "REDIS_URL": redis_url,
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
