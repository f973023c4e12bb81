"""A very large backlog beside a short stream: how soon its first event is done, how the worker grows, and the pace.

Two workers, each with a namespace of its own, drain messages of known customers; one has a short stream in each turn,
the other a very long one, written by the server itself (backlog.py).
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from router.core.keys import Keys, Target
from tests.benchmarks import webhooks
from tests.benchmarks.backlog import GROWTH, fill
from tests.benchmarks.customers import start_api
from tests.benchmarks.filled_stream import Stream
from tests.benchmarks.frame import BenchmarkError, Column, Contender, Figure, Measurement, Sample, Scale
from tests.benchmarks.memory import can_measure, resident
from tests.benchmarks.processes import PATIENCE, cpu_seconds, running_processes, settings_of
from tests.benchmarks.worker import announce

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.benchmarks.processes import Child

#: Entries of the short stream for each second of a turn.
PACE: Final = 8_000
#: Seconds between two checks of what is done, and between two lines of progress.
LOOK: Final = 0.01
_PROGRESS: Final = 10.0


class BacklogBench:
    """One worker whose streams are filled while it has nothing to do."""

    def __init__(self, stream: Stream, keys: Keys, worker: Child, customers: int) -> None:
        self._stream = stream
        self._keys = keys
        self._worker = worker
        self._customers = customers
        self._written = 0
        self._start = resident(worker.pid) if can_measure() else 0.0

    async def drain(self, count: int) -> Sample:
        """Put so many messages in place and watch them; raises BenchmarkError unless each is published, once."""
        redis, name = self._stream.redis, self._stream.name
        await fill(redis, f"{name}:draft", count, self._customers, first=self._written + 1)
        self._written += count
        used = cpu_seconds(self._worker.pid)
        await self._stream.release()
        sample = await self._watch(count)
        now = cpu_seconds(self._worker.pid)
        if used is not None and now is not None:
            sample["cpu_us"] = (now - used) / count * 1_000_000
        participants = self._keys.participants(0, Target.AI_AGENT)
        published = await redis.xtrim(participants, maxlen=0, approximate=False)
        if published != count:
            raise BenchmarkError(f"{self._worker.name}: of {count} messages {published} are published")
        return sample

    async def _watch(self, count: int) -> Sample:
        """Wait until all are done; rates are from the first that is done to the last."""
        begun = reported_at = moved_at = time.perf_counter()
        first: tuple[float, int, int] | None = None
        done, most = 0, self._start
        while done < count:
            self._worker.check()
            await asyncio.sleep(LOOK)
            before, done, now = done, await self._stream.acknowledged(count), time.perf_counter()
            if can_measure():
                most = max(most, resident(self._worker.pid))
            if done and first is None:
                rows: Any = await self._stream.redis.xinfo_groups(self._stream.name)
                first = now, done, rows[0]["entries-read"]
            if done != before:
                moved_at = now
            if now - moved_at > PATIENCE:
                raise BenchmarkError(f"{self._worker.name}: {done} of {count} messages are done, and no more follow")
            if now - reported_at > _PROGRESS:
                reported_at = now
                sys.stderr.write(f"          {self._worker.name}: {done:,} of {count:,} done\n")
        if first is None:
            raise BenchmarkError("a backlog without entries")
        at, early, read = first
        rate = (count - early) / (now - at) if count > early else float(count)
        sample = {"events": float(count), "per_second": rate, "first_s": at - begun, "read": float(read)}
        return sample | ({"growth_mib": most - self._start} if can_measure() else {})


@asynccontextmanager
async def opened(scale: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Start both workers, an API and Redis, and have all customers announced."""
    async with running_processes() as (server, redis, processes):
        api = await start_api(processes, "api", 0.0)
        counts = {"short": PACE * scale.seconds, "long": float(scale.of_million())}
        contenders = []
        for name, count in counts.items():
            keys = Keys(name)
            stream = Stream.inbound(redis, keys)
            await stream.create()
            environment = settings_of(server.url, api, keys.namespace)
            worker = await processes.start(f"worker-{name}", "-m", "router", "work", environment=environment)
            await announce(stream, keys, [worker], webhooks.Senders(scale.customers))
            await redis.xtrim(keys.participants(0, Target.AI_AGENT), maxlen=0, approximate=False)
            bench = BacklogBench(stream, keys, worker, scale.customers)
            contenders.append(Contender(name, f"{count:,.0f} entries", partial(_drain, bench, count / scale.seconds)))
        yield contenders


async def _drain(bench: BacklogBench, pace: float, seconds: float) -> Sample:
    return await bench.drain(max(200, round(pace * seconds)))


BACKLOG: Final = Measurement(
    name="backlog",
    title="Worker: a backlog of known customers' messages, beside a short stream of them",
    columns=(
        Column("per_second", "events/s"),
        Column("cpu_us", "CPU us/event", 1),
        Column("first_s", "first done after s", 3),
        Column("read", "read by then"),
        Column("growth_mib", "worker's growth MiB", 1),
        Column("events", "events a turn"),
    ),
    figures=(
        Figure("first_s", "seconds until the first event of the backlog is done", "first_s", "long", at_most=1.0),
        Figure("growth_mib", "growth of the worker, MiB", "growth_mib", "long", at_most=GROWTH),
        Figure("long_over_short", "events/s, backlog / short stream", "per_second", "long", "short", at_least=0.9),
    ),
    opened=opened,
    most_rounds=3,
)
