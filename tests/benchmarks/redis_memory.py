"""The memory of Redis after the whole path: by kind of key, and what a webhook leaves once its entries are trimmed.

Every contender has a server of its own, which holds nothing else. The total is `used_memory` without the buffers of
clients, minus that of the same server before the first webhook. Of our builds many more webhooks follow, whose entries
are trimmed; then all keys of one part are deleted, and the difference is what they took, with their share of the
tables of keys and of expiries.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from router.streams.store.stories import WAITING
from tests.benchmarks.customers import start_api
from tests.benchmarks.filled_stream import Stream
from tests.benchmarks.frame import Column, Contender, Figure, Measurement, Sample, Scale
from tests.benchmarks.memory import count_kinds
from tests.benchmarks.pairs import OWN, start_express, start_handwritten, start_ours
from tests.benchmarks.processes import SHARED, running_processes
from tests.benchmarks.whole import EACH, LATENCY, PACE, WholeBench
from tests.support.keys import kind_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from router.streams.client.connection import Redis
    from tests.benchmarks.beside import Build
    from tests.benchmarks.pairs import Pair
    from tests.benchmarks.processes import Processes
    from tests.harness.redis_server import RedisServer

#: Customers whose webhooks are sent at once, and webhooks between two lines of progress.
CHUNK: Final = 4_000
PROGRESS: Final = 20_000
#: Seconds between two readings, and their relative difference below which nothing changes any more.
PAUSE: Final = 1.0
STEADY: Final = 0.0005
#: Keys of one kind that are measured singly; the others of the kind count as their mean.
MEASURED: Final = 1_000
#: The part of the memory that keys of a kind belong to, of all contenders.
PARTS: Final[dict[str, str]] = {
    kind: part
    for part, kinds in {
        "streams": (
            *("inbound", "participants", "dead-letters", "commands", "audit"),
            *("straightforward", "express", "bull"),  # of the others, by the beginning of their keys
        ),
        "stories": ("story", "refusals"),
        "ledgers": ("conversation", "journal"),
        "routes": ("route", "person", "call"),
        "sweeps": ("active", "sweeps", "timers"),
        "processes": (
            *("heartbeat", "process", "processes", "progress", "pace", "callbacks", "our-addresses", "partitions"),
            *("fence", "desk", "confirmation", "console-secret", "parked", "trim-cursor", "deaths"),
        ),
    }.items()
    for kind in kinds
}
#: The part of all other kinds, whatever they are called: what a webhook leaves.
CLAIMS: Final = "claims"


def part_of(key: str) -> str:
    """Return the part of the memory that a key of any contender belongs to."""
    return PARTS.get(kind_of(key) or key.partition(":")[0], CLAIMS)


@dataclass(frozen=True, slots=True)
class Case:
    """A contender: `starts` names its pair, `is_long` if the bytes of a webhook are measured too."""

    label: str
    starts: str = "ours"
    is_long: bool = False
    build: Build | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    async def start(self, processes: Processes, server: RedisServer, redis: Redis) -> Pair:
        """Start receiver and worker with an API of their own."""
        api = await start_api(processes, "api", LATENCY, place=SHARED)
        if self.starts == "pair":
            return await start_handwritten(processes, redis, server.url, api)
        if self.starts == "express" and self.build is not None:
            return await start_express(processes, redis, server.url, api, self.build)
        inbound = Stream.inbound(redis, OWN)
        return await start_ours(processes, inbound, server.url, api, build=self.build, settings=self.settings)


def cases_of(scale: Scale) -> dict[str, Case]:
    """Return the contenders of a run by name."""
    cases = {
        "ours": Case("receiver + worker", is_long=True),
        "silent": Case("the same without stories", settings={"ROUTER_STORY_TTL": "0"}),
        "pair": Case("hand-written pair", "pair"),
    }
    if scale.express is not None:
        cases["express"] = Case("Express + BullMQ", "express", build=scale.express)
    if scale.beside is not None:
        cases["before"] = Case("receiver + worker, the other build", is_long=True, build=scale.beside)
    return cases


async def take_turn(case: Case, webhooks: int, seconds: float) -> Sample:
    """Send as many webhooks as in a turn of the whole path and measure all that is kept; of long cases, `webhooks`."""
    async with running_processes(SHARED) as (server, redis, processes):
        load = await processes.start("load", "-m", "tests.benchmarks.load", place=SHARED, has_pipes=True)
        pair = await case.start(processes, server, redis)
        bench, begun = WholeBench(load, server.pid), await used_bytes(redis)
        customers = max(40, round(PACE * seconds / EACH))
        await bench.pass_through(pair, customers)
        await until_indexed(processes, redis)
        count = customers * EACH
        kept = await used_bytes(redis) - begun
        parts = await bytes_of_parts(redis)
        sample = {"kept": kept / count, "events": float(count), "tables": (kept - sum(parts.values())) / count}
        sample |= {part: taken / count for part, taken in parts.items()}
        if not case.is_long:
            return sample
        await pair.empty()
        customers += await _send_more(bench, pair, customers, webhooks)
        await until_indexed(processes, redis)
        for child in (pair.receiver, pair.worker):
            await processes.end(child)
        # The few first: with most keys gone, those that are left would share tables that are too large for them.
        sample["conversation"] = await deleted_bytes(redis, "ledgers") / customers
        sample["left"] = await deleted_bytes(redis, CLAIMS) / customers / EACH
        return sample | {"webhooks": float(customers * EACH)}


async def _send_more(bench: WholeBench, pair: Pair, customers: int, webhooks: int) -> int:
    """Send webhooks of further customers until there were so many; returns how many customers these were."""
    more = 0
    while (customers + more) * EACH < webhooks:
        some = min(CHUNK, webhooks // EACH - customers - more)
        await bench.pass_through(pair, max(1, some))
        await pair.empty()
        more += max(1, some)
        if (customers + more) * EACH % PROGRESS == 0:
            sys.stderr.write(f"          {pair.label}: {(customers + more) * EACH:,} of {webhooks:,} webhooks\n")
    return more


async def until_indexed(processes: Processes, redis: Redis) -> None:
    """Wait until the worker has moved all lines of stories to where they are found, which takes less memory or more."""

    async def is_indexed() -> bool:
        return not await redis.exists(OWN.stories(0) + WAITING)

    await processes.until("stories are indexed", is_indexed, pause=0.1)


async def used_bytes(redis: Redis) -> int:
    """Return the bytes that Redis uses, without the buffers of clients and of the append-only file."""
    row: dict[str, Any] = await redis.info("memory")
    return int(row["used_memory"]) - int(row["mem_clients_normal"]) - int(row["mem_aof_buffer"])


async def table_bytes(redis: Redis) -> int:
    """Return the bytes of the tables of keys and of expiries, which Redis fits to their number by powers of two."""
    stats: dict[str, Any] = await redis.memory_stats()
    return int(stats["overhead.db.hashtable.lut"])


async def settled_bytes(redis: Redis) -> int:
    """Return the bytes that Redis uses once they do not change: it counts the buffers of clients by and by."""
    found, before = await used_bytes(redis), 0
    while abs(found - before) > found * STEADY:
        await asyncio.sleep(PAUSE)
        before, found = found, await used_bytes(redis)
    return found


async def bytes_of_parts(redis: Redis) -> dict[str, float]:
    """Return the bytes of each part, estimated from some keys of each kind."""
    found: Counter[str] = Counter(dict.fromkeys([*PARTS.values(), CLAIMS], 0))
    for kind in await count_kinds(redis, most=MEASURED, name_of=lambda key: kind_of(key) or key.partition(":")[0]):
        found[PARTS.get(kind.name, CLAIMS)] += round(kind.keys * kind.size)
    return dict(found)


async def deleted_bytes(redis: Redis, part: str) -> float:
    """Delete all keys of a part and return the bytes that they took; each has an equal share of the tables."""
    tables, keys = await table_bytes(redis), await redis.dbsize()
    before = await settled_bytes(redis) - tables
    some: list[bytes] = []
    async for key in redis.scan_iter(count=1000):
        if part_of(key.decode("utf-8", "backslashreplace")) == part:
            some.append(key)
        if len(some) >= MEASURED:
            await redis.delete(*some)
            some.clear()
    if some:
        await redis.delete(*some)
    left = await redis.dbsize()
    return before - (await settled_bytes(redis) - await table_bytes(redis)) + tables * (keys - left) / max(1, keys)


@asynccontextmanager
async def opened(scale: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Start nothing: every turn has processes of its own."""
    webhooks = scale.of_million()
    yield [Contender(name, case.label, partial(take_turn, case, webhooks)) for name, case in cases_of(scale).items()]


REDIS_MEMORY: Final = Measurement(
    name="memory",
    title=f"Memory of Redis, bytes for each event after the whole path, {EACH} of a customer, all kept",
    columns=(
        Column("kept", "all"),
        Column("streams", "streams"),
        Column("stories", "stories"),
        Column("claims", "claims"),
        Column("ledgers", "ledgers"),
        Column("routes", "routes"),
        Column("sweeps", "sweeps"),
        Column("processes", "processes"),
        Column("tables", "tables"),
        Column("events", "events"),
        Column("left", "a webhook leaves"),
        Column("conversation", "a conversation"),
        Column("webhooks", "of webhooks"),
    ),
    figures=(
        Figure("kept_over_pair", "all kept, ours / hand-written pair", "kept", "ours", "pair", at_most=1.3),
        Figure("silent_over_pair", "the same without stories", "kept", "silent", "pair"),
        Figure("kept_over_express", "all kept, ours / Express + BullMQ", "kept", "ours", "express"),
        Figure("kept_over_before", "all kept, ours / the other build", "kept", "ours", "before"),
        Figure("left_over_before", "a webhook leaves, ours / the other build", "left", "ours", "before", at_most=0.25),
        Figure(
            *("conversation_over_before", "a conversation, ours / the other build", "conversation", "ours", "before"),
            at_most=0.5,
        ),
    ),
    opened=opened,
    most_rounds=1,
    has_warm_up=False,
)
