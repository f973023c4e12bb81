"""Runs the bulk actions of the console in the background, whoever still looks at their pages.

Each is a task of this process; its progress is noted in Redis every BEAT seconds (streams.store.jobs), so that every
console process shows it and may ask it to stop. What a job has done when it is stopped, or its process ends, stays
done; nothing is done twice, because each step takes entries out of the list that it works on.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from router.core.printable import masked
from router.logs import describe, log
from router.streams.client.connection import RedisError
from router.streams.store.jobs import Job, JobState
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from router.core.bulk import BulkProgress, EntryOutcome
    from router.streams.store.audit import AuditLog
    from router.streams.store.jobs import JobStore

    Work = Callable[["JobSteps"], Awaitable[object]]

#: Seconds between two notes of a job's progress.
BEAT: Final = 1.0
#: Seconds until the end of a job is noted once more, while Redis is away.
RETRY: Final = 2.0
#: Outcomes that are told apart; further ones are counted by their kind, or together if they have none.
MOST_KINDS: Final = 20
OTHERS: Final = "others"


class JobBusyError(Exception):
    """A job of the same kind is under way."""


class JobStoppedError(Exception):
    """Somebody has asked the job to stop."""


class JobSteps:
    """The progress of one job, as its work tells it; raises JobStoppedError once it is to stop."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._counts: Counter[str] = Counter()
        self.is_to_stop = False

    @property
    def job(self) -> Job:
        """The job with its progress so far."""
        return replace(self._job, counts=dict(self._counts))

    def note_progress(self, progress: BulkProgress) -> None:
        """Note how many entries were looked at."""
        self._job = replace(self._job, seen=progress.looked_at, total=max(progress.total, progress.looked_at))
        if self.is_to_stop:
            raise JobStoppedError

    def note_outcome(self, outcome: EntryOutcome) -> None:
        """Count an outcome: what failed by its reason."""
        done = self._job.what.rpartition(".")[2]
        self.count(*((done, done) if outcome.is_done else (outcome.text, outcome.kind)))

    def count(self, outcome: str, kind: str = "") -> None:
        """Count an entry by its outcome, whose words may quote what a stranger wrote: viewers see the counts, too.

        Beyond MOST_KINDS outcomes it is counted by its `kind`, one of a few that quote nothing.
        """
        outcome = masked(outcome, has_ids=False)
        is_full = outcome not in self._counts and len(self._counts) >= MOST_KINDS
        self._counts[(kind or OTHERS) if is_full else outcome] += 1


class JobRunner:
    """The jobs of this process. `clock` returns µs since 1970."""

    def __init__(self, store: JobStore, audit: AuditLog, *, clock: Callable[[], int]) -> None:
        self.store = store
        self._audit = audit
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._lock = asyncio.Lock()

    async def start(
        self, what: str, who: str, role: str, filters: Mapping[str, str], work: Work, *, dry_run: str | None = None
    ) -> Job:
        """Start a job of a kind (`dead-letters.replay`); raises JobBusyError if this process runs one of the kind."""
        job = Job(secrets.token_hex(8), what, who, dict(filters), self._clock(), dry_run=dry_run)
        async with self._lock:
            if what in self._tasks:
                raise JobBusyError
            await self.store.begin(job)
            task = self._tasks[what] = asyncio.create_task(self._run(job, role, work))
            task.add_done_callback(lambda _: self._tasks.pop(what, None))
        return job

    async def close(self) -> None:
        """End all jobs; each is shown as interrupted."""
        await end(*self._tasks.values())

    async def _run(self, job: Job, role: str, work: Work) -> None:
        steps = JobSteps(job)
        beat = asyncio.create_task(self._beat(steps))
        state, problem = JobState.DONE, ""
        try:
            await work(steps)
        except JobStoppedError:
            state = JobState.STOPPED
        except Exception as error:  # noqa: BLE001 - the composition root of the job: its page says what went wrong
            state, problem = JobState.FAILED, describe(error)
            log("job.failed", level="error", job=job.job_id, what=job.what, reason=problem)
        except asyncio.CancelledError:
            state = JobState.INTERRUPTED
            raise
        finally:
            await end(beat)
            ended = replace(steps.job, state=state, problem=problem, ended_at=self._clock())
            if state is not JobState.INTERRUPTED:
                await self._note_end(ended, role)

    async def _beat(self, steps: JobSteps) -> None:
        while True:
            with suppress(RedisError, OSError):  # the next beat notes it all
                steps.is_to_stop = await self.store.note(steps.job) or steps.is_to_stop
            await asyncio.sleep(BEAT)

    async def _note_end(self, job: Job, role: str) -> None:
        """Note the end of a job, and for the audit what it did; repeated until Redis answers."""
        while True:
            try:
                await self.store.note(job)
                detail = "; ".join(f"{name}: {count}" for name, count in job.counts.items()) or "nothing"
                await self._audit.note(job.who, role, f"{job.what} {job.state}", f"job {job.job_id}", detail)
            except (RedisError, OSError):
                await asyncio.sleep(RETRY)
            else:
                return
