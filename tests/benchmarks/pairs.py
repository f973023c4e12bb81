"""A receiver and a worker with what lies between them: ours, the hand-written pair, and Express with BullMQ.

All do the same for a message: they check its signature, keep it in Redis once, open a conversation with a new customer,
and publish an entry for the customer and one for the message. All share the first two cores.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from router.core.keys import Keys, Target
from router.streams.client.embedded import free_port
from tests.benchmarks import webhooks
from tests.benchmarks.filled_stream import Stream
from tests.benchmarks.frame import BenchmarkError
from tests.benchmarks.handwritten_worker import PARTICIPANTS
from tests.benchmarks.processes import PATIENCE, SHARED, settings_of
from tests.harness.deployment import count_unfinished
from tests.support.accounts import BASE_URL, TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router.streams.client.connection import Redis
    from tests.benchmarks.beside import Build
    from tests.benchmarks.processes import Child, Processes

#: The keys of this build.
OWN: Final = Keys()
#: Seconds between two checks of what is done: few, because they use the same cores.
LOOK: Final = 0.01
#: The queue and the stream of entries of Express with BullMQ, as in express/app.mjs.
BULL: Final = "bull:sms"
BULL_PARTICIPANTS: Final = "express:participants"


class Between(Protocol):
    """What lies between a receiver and its worker."""

    async def added(self) -> int:
        """Return how many webhooks were ever put there."""

    async def unfinished(self) -> int:
        """Return how many of them are not done."""

    async def empty(self) -> None:
        """Delete those that are done."""


@dataclass(frozen=True, slots=True)
class StreamBetween:
    """A stream with the group that reads it."""

    stream: Stream

    async def added(self) -> int:
        """Return how many entries the stream ever had."""
        row: Any = await self.stream.redis.xinfo_stream(self.stream.name)
        return int(row["entries-added"])

    async def unfinished(self) -> int:
        """Return how many entries are unread, pending or parked."""
        return await count_unfinished(self.stream.redis, self.stream.name)

    async def empty(self) -> None:
        """Trim the stream."""
        await self.stream.redis.xtrim(self.stream.name, maxlen=0, approximate=False)


#: Everything in one step, because a job may go from one to another meanwhile.
_COUNT_JOBS: Final = """
local count = 0
for _, name in ipairs({'wait', 'active', 'paused'}) do
  count = count + redis.call('LLEN', KEYS[1] .. ':' .. name)
end
for _, name in ipairs({'delayed', 'prioritized', 'failed'}) do
  count = count + redis.call('ZCARD', KEYS[1] .. ':' .. name)
end
return count
"""


@dataclass(frozen=True, slots=True)
class BullBetween:
    """A queue of BullMQ, which deletes completed jobs."""

    redis: Redis

    async def added(self) -> int:
        """Return the number of the newest job."""
        return int(await self.redis.get(f"{BULL}:id") or 0)

    async def unfinished(self) -> int:
        """Return how many jobs wait, are active, or have failed."""
        number: Any = await self.redis.eval(_COUNT_JOBS, 1, BULL)
        return int(number)

    async def empty(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A receiver with its worker: the port for webhooks, what lies between the two, and the stream of entries."""

    label: str
    receiver: Child
    worker: Child
    port: int
    redis: Redis
    between: Between
    participants: str
    message_of: Callable[[dict[str, Any]], str] = lambda data: str(data["channel_id"])

    async def empty(self) -> None:
        """Delete the webhooks that are done, and all entries."""
        await self.between.empty()
        await self.redis.xtrim(self.participants, maxlen=0, approximate=False)


async def until_done(pair: Pair, added: int) -> float:
    """Return the time (of `time.monotonic`) at which all of `added` webhooks ever added are done."""
    deadline = time.monotonic() + PATIENCE
    while True:
        now = time.monotonic()
        found, left = await pair.between.added(), await pair.between.unfinished()
        if found == added and not left:
            return now
        if now > deadline:
            raise BenchmarkError(f"{pair.label}: {found} of {added} stored, {left} not done")
        pair.worker.check()
        await asyncio.sleep(LOOK)


async def start_ours(
    processes: Processes,
    inbound: Stream,
    redis_url: str,
    api: str,
    *,
    keys: Keys = OWN,
    build: Build | None = None,
    settings: Mapping[str, str] | None = None,
) -> Pair:
    """Start a receiver and a worker of ours; returns them once both can work."""
    port = free_port()
    await inbound.create()
    receiver = await processes.start(
        f"{keys.namespace}-receiver",
        *("-m", "router", "receive", "--host", "127.0.0.1", "--port", str(port)),
        environment=settings_of(redis_url, namespace=keys.namespace) | dict(settings or {}),
        place=SHARED,
        build=build,
    )
    worker = await processes.start(
        f"{keys.namespace}-worker",
        *("-m", "router", "work"),
        environment=settings_of(redis_url, api, keys.namespace) | dict(settings or {}),
        place=SHARED,
        build=build,
    )
    await processes.until_listening(receiver, port)
    return Pair(
        label="receiver + worker" + (", the other build" if build is not None else ""),
        receiver=receiver,
        worker=worker,
        port=port,
        redis=inbound.redis,
        between=StreamBetween(inbound),
        participants=keys.participants(0, Target.AI_AGENT),
        message_of=lambda data: str(data["communication"]["channel_id"]),
    )


async def start_handwritten(processes: Processes, redis: Redis, redis_url: str, api: str) -> Pair:
    """Start the hand-written pair; returns it once its receiver can work."""
    port, inbound = free_port(), Stream(redis, "straightforward", "baseline")
    await inbound.create()
    program = ("-m", "tests.benchmarks.baselines")
    receiver = await processes.start(
        "pair-receiver",
        *(*program, "straightforward", "--port", str(port), "--redis", redis_url),
        place=SHARED,
    )
    worker = await processes.start(
        "pair-worker",
        *(*program, "pair", "--redis", redis_url, "--api", api, "--stream", inbound.name, "--group", inbound.group),
        place=SHARED,
    )
    await processes.until_listening(receiver, port)
    return Pair("hand-written pair", receiver, worker, port, redis, StreamBetween(inbound), PARTICIPANTS)


async def start_express(processes: Processes, redis: Redis, redis_url: str, api: str, build: Build) -> Pair:
    """Start Express with BullMQ; returns both processes once the receiver can work."""
    port = free_port()
    settings = {"NODE_ENV": "production", "REDIS_URL": redis_url, "API_URL": api, "PORT": str(port)}
    settings |= {"AUTH_TOKEN": TOKEN, "BASE_URL": BASE_URL, "AUTHORIZATION": webhooks.BASIC}
    receiver, worker = [
        await processes.start(
            f"express-{role}", "app.mjs", role, environment=settings | {"ROLE": role}, place=SHARED, build=build
        )
        for role in ("receiver", "worker")
    ]
    await processes.until_listening(receiver, port)
    return Pair("Express + BullMQ", receiver, worker, port, redis, BullBetween(redis), BULL_PARTICIPANTS)
