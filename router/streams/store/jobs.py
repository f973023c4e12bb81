"""Bulk actions of the console (*jobs*): what each does, how far it is, and whether the process that runs it is alive.

A job belongs to the console process that started it; any other shows it, and may ask it to stop. All keys are in
partition 0 and expire LIFE seconds after they were last written. A job without a sign of life for ALIVE seconds is
shown as interrupted: what it had done stays done, and starting it once more does the rest.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.core.keys import Keys
    from router.streams.client.connection import Redis

#: Seconds for which a job can be read after its last change.
LIFE: Final = 86_400
#: Seconds after its last sign of life from which a running job counts as interrupted.
ALIVE: Final = 20
#: Jobs that are listed.
MOST: Final = 100
_LIST: Final = "list"


class JobState(StrEnum):
    """The state of a job."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"  # somebody asked it to
    FAILED = "failed"  # for the reason in `problem`
    INTERRUPTED = "interrupted"  # its process has ended


@dataclass(frozen=True, slots=True)
class Job:
    """One job. Times in µs since 1970; `seen` of `total` entries were looked at, 0: the total is not known.

    `filters` select what it acts on; `counts` has the number of entries by their outcome. `dry_run` is the id of the
    job that has shown beforehand what this one does.
    """

    job_id: str
    what: str
    who: str
    filters: Mapping[str, str]
    started_at: int
    state: JobState = JobState.RUNNING
    seen: int = 0
    total: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""
    ended_at: int | None = None
    dry_run: str | None = None


class JobStore:
    """The jobs of one namespace."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    def _key(self, job_id: str) -> str:
        return self._keys.job(f"one:{job_id}")

    def _alive(self, job_id: str) -> str:
        return self._keys.job(f"alive:{job_id}")

    async def begin(self, job: Job) -> None:
        """Note a new job, and drop the oldest ones from the list."""
        listed = self._keys.job(_LIST)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.zadd(listed, {job.job_id: job.started_at})
        pipeline.zremrangebyrank(listed, 0, -MOST - 1)
        pipeline.expire(listed, LIFE)
        await pipeline.execute()
        await self.note(job)

    async def note(self, job: Job) -> bool:
        """Note the progress or the end of a job; returns whether somebody has asked it to stop."""
        key, alive = self._key(job.job_id), self._alive(job.job_id)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hset(key, "job", orjson.dumps(asdict(job)))
        pipeline.expire(key, LIFE)
        if job.state is JobState.RUNNING:
            pipeline.set(alive, 1, ex=ALIVE)
        else:
            pipeline.delete(alive)
        pipeline.hexists(key, "stop")
        return bool((await pipeline.execute())[-1])

    async def ask_to_stop(self, job_id: str) -> bool:
        """Ask a job to stop; returns False if there is none of that id."""
        key = self._key(job_id)
        if not await self._redis.hexists(key, "job"):
            return False
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hset(key, "stop", "1")
        pipeline.expire(key, LIFE)
        await pipeline.execute()
        return True

    async def read(self, job_id: str) -> Job | None:
        """Return a job, None if there is none of that id."""
        return next(iter(await self._read([job_id])), None)

    async def newest(self, limit: int = MOST) -> list[Job]:
        """Return jobs, newest first."""
        ids: Any = await self._redis.zrevrange(self._keys.job(_LIST), 0, limit - 1)
        return await self._read([one.decode() for one in ids])

    async def _read(self, ids: list[str]) -> list[Job]:
        pipeline = self._redis.pipeline(transaction=False)
        for job_id in ids:
            pipeline.hget(self._key(job_id), "job")
            pipeline.exists(self._alive(job_id))
        replies = await pipeline.execute() if ids else []
        return [_parse(text, is_alive=bool(alive)) for text, alive in zip(*[iter(replies)] * 2, strict=True) if text]


def _parse(text: bytes, *, is_alive: bool) -> Job:
    stored = orjson.loads(text)
    job = Job(**{**stored, "state": JobState(stored["state"])})
    return job if is_alive or job.state is not JobState.RUNNING else replace(job, state=JobState.INTERRUPTED)
