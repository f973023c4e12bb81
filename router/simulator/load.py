"""`simulate … --customers N`: many customers at once, at a rate, and what the deployment made of them.

Each customer has an address of its own, counted on from `--from`, so the same command sends duplicates unless `--new`
is given. Requests start when the rate says, whether or not earlier ones are answered: an overload shows as waiting.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from collections import Counter
from contextlib import AsyncExitStack, aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from router.core.keys import RESOLVER, Keys
from router.core.values import Value
from router.process.terminal import complain, show
from router.simulator.builders import event_keys_of
from router.simulator.http import NO_FAULT
from router.simulator.scenario import make_steps, open_senders
from router.streams.store.inspect import read_stream
from router.streams.store.watch import last_ids, participant_streams, watch
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router.simulator.scenario import ScenarioStep
    from router.streams.client.connection import Redis

#: Requests at once, unless the command line says.
PARALLEL: Final = 100
#: Seconds between two lines of progress, and in which all events must be processed at the end.
PROGRESS: Final = 2.0
PATIENCE: Final = 30.0
_STEP: Final = 0.2
_DIGITS: Final = re.compile(r"\d+(?=\D*\Z)")
#: Answers that refuse a webhook for good are from the first to below the second.
_CLIENT_ERROR, _SERVER_ERROR = 400, 500


class LoadResult(Value):
    """The outcome of the requests: statuses (0: no answer), seconds of each answer, and the seconds in all."""

    statuses: Counter[int]
    seconds: list[float]
    took: float


class Load:
    """One load; `run` sends it, `summary` tells what became of it."""

    def __init__(self, arguments: argparse.Namespace, environment: Mapping[str, str]) -> None:
        self._arguments = arguments
        self._environment = environment
        self._steps = [step for one in customers_of(arguments) for step in make_steps(one, environment)]
        self._statuses: Counter[int] = Counter()
        self._seconds: list[float] = []

    @property
    def keys(self) -> set[str]:
        """The idempotency keys of all events."""
        account = self._environment["TWILIO_ACCOUNT_SID"]
        return {key for step in self._steps for key in event_keys_of(step.webhook, account)}

    async def run(self) -> LoadResult:
        """Send everything, with a line of progress every few seconds; requests without an answer count as such."""
        started = time.monotonic()
        progress = asyncio.create_task(self._show_progress(started))
        try:
            await self._send(started)
        finally:
            await end(progress)
        return LoadResult(self._statuses, self._seconds, time.monotonic() - started)

    async def _send(self, started: float) -> None:
        rate = self._arguments.rate
        slots = asyncio.Semaphore(self._arguments.parallel or PARALLEL)
        async with AsyncExitStack() as stack:
            senders = await open_senders(stack, self._environment, self._steps)

            async def post(step: ScenarioStep) -> None:
                begun = time.monotonic()
                try:
                    status, _ = await senders[step.family].send(step.webhook, NO_FAULT)
                except OSError:
                    status = 0
                finally:
                    slots.release()
                self._statuses[status] += 1
                self._seconds.append(time.monotonic() - begun)

            async with asyncio.TaskGroup() as group:
                for number, step in enumerate(self._steps):
                    if rate and (pause := started + number / rate - time.monotonic()) > 0:
                        await asyncio.sleep(pause)
                    await slots.acquire()
                    group.create_task(post(step))

    async def _show_progress(self, started: float) -> None:
        while True:
            await asyncio.sleep(PROGRESS)
            done, seconds = self._statuses.total(), time.monotonic() - started
            accepted = self._statuses[HTTPStatus.OK]
            complain(f"{done} of {len(self._steps)} sent, {accepted} accepted, {done / seconds:.0f}/s")


def customers_of(arguments: argparse.Namespace) -> list[argparse.Namespace]:
    """Return the command line once for each customer, with an address of its own."""
    return [
        argparse.Namespace(**{**vars(arguments), "sender": address_of(arguments.sender, number)})
        for number in range(arguments.customers)
    ]


def address_of(first: str, number: int) -> str:
    """Return the address that is so many behind the first one: its last digits counted on, or a number put in."""
    found = _DIGITS.search(first.partition("@")[0])
    if found is None:
        local, at, host = first.partition("@")
        return f"{local}-{number}{at}{host}" if number else first
    text = str(int(found[0]) + number).zfill(len(found[0]))
    return first[: found.start()] + text + first[found.end() :]


async def run_load(arguments: argparse.Namespace, environment: Mapping[str, str], redis: Redis | None) -> int:
    """Send a load and print what became of it; status 1 if a webhook was not accepted. Raises RedisError."""
    load = Load(arguments, environment)
    keys = Keys(environment.get("ROUTER_NAMESPACE", "router"), int(environment.get("ROUTER_PARTITIONS", "1")))
    position = {} if redis is None else await last_ids(redis, participant_streams(keys))
    result = await load.run()
    show(*summarize(result))
    if redis is not None:
        waiting = await _until_processed(redis, keys)
        published = await _count_published(redis, position, load.keys)
        shown = ", ".join(f"{count} {kind}" for kind, count in sorted(published.items()))
        show(f"published  {shown or 'nothing'}", f"waiting    {waiting} events of the deployment")
    return 0 if set(result.statuses) == {HTTPStatus.OK} else 1


def summarize(result: LoadResult) -> list[str]:
    """Return the lines about the requests and their answers."""
    statuses, total = result.statuses, result.statuses.total()
    accepted = statuses[HTTPStatus.OK]
    refused = {status: count for status, count in statuses.items() if _CLIENT_ERROR <= status < _SERVER_ERROR}
    failed = {status: count for status, count in statuses.items() if status not in {HTTPStatus.OK, *refused}}
    milliseconds = sorted(seconds * 1000 for seconds in result.seconds)
    rate = total / result.took if result.took else 0.0
    return [
        f"sent       {total} in {result.took:.1f} s, {rate:.0f}/s",
        f"accepted   {accepted}",
        f"refused    {_count(refused)}",
        f"failed     {_count(failed)}",
        f"answers    p50 {_quantile(milliseconds, 0.5):.1f} ms, p99 {_quantile(milliseconds, 0.99):.1f} ms",
    ]


def _count(statuses: Mapping[int, int]) -> str:
    """Return how many answers there are, and how many of each status."""
    each = ", ".join(f"{count} x {status or 'no answer'}" for status, count in sorted(statuses.items()))
    return f"{sum(statuses.values())}" + (f" ({each})" if each else "")


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


async def _until_processed(redis: Redis, keys: Keys) -> int:
    """Return how many events the workers have left, once that is none or PATIENCE seconds have passed."""
    last = time.monotonic() + PATIENCE  # no cancellation, which a client of Redis may lose (router.tasks)
    left = await _count_left(redis, keys)
    while left and time.monotonic() < last:
        await asyncio.sleep(_STEP)
        left = await _count_left(redis, keys)
    return left


async def _count_left(redis: Redis, keys: Keys) -> int:
    states = [await read_stream(redis, keys, keys.inbound(partition)) for partition in range(keys.partitions)]
    groups = [group for state in states for group in state.groups if group.name == RESOLVER]
    return sum(group.lag + group.pending + group.parked for group in groups)


async def _count_published(redis: Redis, position: dict[str, str], wanted: set[str]) -> Counter[str]:
    """Return how many entries of each type these events have caused."""
    published: Counter[str] = Counter()
    async with aclosing(watch(redis, position)) as reads:
        async for rows in reads:
            if not rows:
                return published
            entries = [entry for row in rows if (entry := row.entry()) is not None]
            published.update(entry.type for entry in entries if entry.data.cause.idempotency_key in wanted)
    return published
