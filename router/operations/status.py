"""The state of a deployment on one screen: what is wrong and what to do about it, before everything else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from router.core.errors import SettingsError
from router.operations.dead_letters import count_letters
from router.operations.diagnosis import find_problems, worst
from router.operations.processes import list_processes
from router.operations.quarantine import count_kept
from router.operations.status_values import Level, SpoolReport, Status
from router.operations.streams import read_streams
from router.operations.team import QueueReport, read_team
from router.streams.client.clock import RedisClock
from router.streams.store.inspect import find_refusals
from router.streams.store.quarantine import count_lately

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.operations.processes import ProcessState
    from router.settings.model import Settings
    from router.streams.client.connection import Redis

#: The µs that count as lately.
_LATELY: Final = 3_600_000_000
#: The states of a spool, the worst last.
_SPOOL_STATES: Final = ("off", "ok", "full", "failed")


async def read_status(redis: Redis, settings: Settings) -> Status:
    """Return the state of a deployment; raises RedisError if Redis does not answer."""
    clock = RedisClock(settings.keys.inbound(0))
    await clock.measure(redis)
    now = clock()
    known = await list_processes(redis, settings.keys, with_ended=True)
    streams = tuple(await read_streams(redis, settings.keys))
    groups = [group for stream in streams for group in stream.groups]
    status = Status(
        now,
        Level.OK,
        processes=tuple(one for one in known if not one.has_ended),
        streams=streams,
        waiting=sum(group.parked for group in groups),
        spool=_sum_spools(known),
        oldest=min((group.oldest for group in groups if group.oldest is not None), default=None),
        dead_letters=await count_letters(redis, settings.keys),
        quarantine=await count_kept(redis, settings.keys),
        refusals=await find_refusals(redis, settings.keys),
        refused_lately=await count_lately(redis, settings.keys, (now - _LATELY) // 1000),
        not_stored=_sum_not_stored(known, now),
        queues=await _read_queues(redis, settings, now),
    )
    problems = find_problems(status)
    return replace(status, problems=problems, level=worst(problems))


def _sum_spools(processes: Iterable[ProcessState]) -> SpoolReport:
    """Return the sum over the spools of all receivers that are alive, and what others have left on their disks."""
    found = [(one, one.facts["spool"]) for one in processes if isinstance(one.facts.get("spool"), dict)]
    spools = [spool for one, spool in found if one.is_alive]
    # a receiver that is alive adopts what others have left in its folder, and counts it as its own
    adopting = {(one.host, spool.get("folder")) for one, spool in found if one.is_alive}
    left: Counter[str] = Counter()
    for one, spool in found:
        if not one.is_alive and (one.host, spool.get("folder")) not in adopting and _number(spool.get("own")) > 0:
            left[one.host] += spool["own"]
    states = [str(spool.get("status")) for spool in spools]
    return SpoolReport(
        sum(_number(spool.get("entries")) for spool in spools),
        sum(_number(spool.get("bytes")) for spool in spools),
        max((state for state in states if state in _SPOOL_STATES), key=_SPOOL_STATES.index, default="off"),
        dict(left),
    )


def _sum_not_stored(processes: Iterable[ProcessState], now: int) -> tuple[int, int]:
    """Return how many webhooks receivers answered 503 that did so lately, and when the last one came.

    Receivers that have ended since are among them.
    """
    facts = [one.facts["not_stored"] for one in processes if isinstance(one.facts.get("not_stored"), dict)]
    lately = [one for one in facts if _number(one.get("last")) > now - _LATELY]
    return sum(_number(one.get("webhooks")) for one in lately), max((one["last"] for one in lately), default=0)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


async def _read_queues(redis: Redis, settings: Settings, now: int) -> tuple[QueueReport, ...]:
    """Return the queues; none if this machine has no right files of them, which workers need."""
    try:
        return (await read_team(redis, settings, now=now)).queues
    except SettingsError:
        return ()
