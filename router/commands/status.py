"""`python -m router status`: one screen for the person who is called at night.

Exit status: 0 ok, 1 degraded, 2 down. Problems come first, each with what to do and where to read on.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from router.commands.connected import RedisFailedError, connected
from router.core.timestamps import show_span, to_text
from router.operations.diagnosis import redis_away
from router.operations.redaction import plain
from router.operations.status import read_status
from router.operations.status_values import Level, Status
from router.process.terminal import complain, show, show_json
from router.settings.environment import own_environment
from router.simulator.http import is_up

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from router.operations.streams import StreamReport

#: The exit status of each level.
STATUS: Final = {Level.OK: 0, Level.DEGRADED: 1, Level.DOWN: 2}
#: The page that says more about each problem.
PAGE: Final = "docs/operations.md"
_SECOND: Final = 1_000_000


async def run_status(arguments: argparse.Namespace) -> int:
    """Print the state of the deployment; returns the exit status of its level."""
    try:
        async with connected() as (redis, settings):
            status = await read_status(redis, settings)
    except RedisFailedError as error:
        return await _without_redis(error, is_json=arguments.json)
    if arguments.json:
        show_json(status.to_json())
    else:
        show(*_as_lines(status))
    return STATUS[status.level]


async def _without_redis(error: RedisFailedError, *, is_json: bool) -> int:
    """Say that Redis does not answer, and whether webhooks are stored meanwhile; returns the exit status."""
    url = own_environment().get("ROUTER_URL", "")
    problem = redis_away(str(error), takes_webhooks=await is_up(f"{url}/readyz") if url else None)
    if is_json:
        show_json(Status(time.time_ns() // 1000, Level.DOWN, (problem,)).to_json())
    complain(f"{problem.level}: {problem.text}")
    return STATUS[problem.level]


def _as_lines(status: Status) -> Iterator[str]:
    yield f"{status.level.upper()}  {to_text(status.at)}"
    for problem in status.problems:
        yield ""
        yield f"{problem.level}: {plain(problem.text)}"
        yield f"  {plain(problem.action)}"
        yield f"  {PAGE}#{problem.section}"
    yield ""
    yield from _processes(status)
    yield from _streams(status)
    yield f"waiting       {status.waiting:,}"
    yield f"spool         {status.spool.state}, {status.spool.entries:,} webhooks, {status.spool.size:,} bytes"
    yield f"dead letters  {status.dead_letters:,}"
    refused = ", ".join(f"{count:,} {reason}" for reason, count in status.quarantine.items() if count)
    yield f"quarantine    {sum(status.quarantine.values()):,}" + (f" ({refused})" if refused else "")
    for queue in status.queues:
        if queue.waiting:
            longest = f", the longest for {_age(status, queue.oldest)}" if queue.oldest is not None else ""
            yield f"queue         {plain(queue.name)}: {queue.waiting:,} wait{longest}; {queue.available} available"


def _processes(status: Status) -> Iterator[str]:
    """Yield a line for each kind: how many are alive, since when, and in which versions."""
    alive = [one for one in status.processes if one.is_alive]
    for number, kind in enumerate(sorted({one.kind for one in alive})):
        mine = [one for one in alive if one.kind == kind]
        versions = ", ".join(sorted({one.version for one in mine}))
        since = show_span((status.at - max(one.started_at for one in mine)) / _SECOND)
        label = "" if number else "processes"
        yield f"{label:<13} {len(mine)} {plain(kind)}, the last one started {since} ago, version {plain(versions)}"
    if not alive:
        yield "processes     none is alive"


def _streams(status: Status) -> Iterator[str]:
    """Yield a line for each kind of stream and each of its groups, over all partitions."""
    by_kind: dict[str, list[StreamReport]] = {}
    for stream in status.streams:
        if stream.kind != "dead-letters":
            by_kind.setdefault(stream.kind, []).append(stream)
    for kind, streams in by_kind.items():
        rate = sum(stream.rate for stream in streams)
        length = sum(stream.length for stream in streams)
        yield f"stream        {kind}: {length:,} entries, {rate:.1f}/s"
        for name in dict.fromkeys(group.name for stream in streams for group in stream.groups):
            yield f"              {_group(status, name, streams)}"


def _group(status: Status, name: str, streams: list[StreamReport]) -> str:
    mine = [group for stream in streams for group in stream.groups if group.name == name]
    counts: Counter[str] = Counter()
    for group in mine:
        counts.update(unread=group.lag, pending=group.pending, waiting=group.parked)
    readers = sum(reader.is_alive for group in mine for reader in group.readers)
    oldest = min((group.oldest for group in mine if group.oldest is not None), default=None)
    age = f", oldest {_age(status, oldest)}" if oldest is not None else ""
    shown = ", ".join(f"{what} {counts[what]:,}" for what in ("unread", "pending", "waiting"))
    return f"{plain(name)}: {shown}{age}, readers {readers}"


def _age(status: Status, time_us: int) -> str:
    return show_span((status.at - time_us) / _SECOND)
