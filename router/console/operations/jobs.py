"""Jobs: the bulk actions under way and of the last day, with their progress."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from router.console.operations.bulk_jobs import DRY_RUN, show_job
from router.console.operations.models import JobAnswer, JobsAnswer
from router.console.operations.parts import page_of
from router.console.pages import ConsoleError, Live, LiveEvent, Page, Redirect, Role, View
from router.streams.client.connection import RedisError
from router.streams.store.jobs import JobState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from router.console.request import ConsoleRequest
    from router.streams.store.jobs import Job

#: Seconds between two looks at a job that a page follows.
LOOK: Final = 1.0


async def list_jobs(request: ConsoleRequest) -> View:
    """Show the jobs of the last day."""
    return View(
        page_of([show_job(job, unmasked=request.sees_unmasked) for job in await request.ports.jobs.store.newest()])
    )


async def show_one(request: ConsoleRequest) -> View:
    """Show a job, and for a dry run the actions that may follow."""
    job = await _find(request)
    return View(show_job(job, unmasked=request.sees_unmasked), extra=_extra(job))


async def follow(request: ConsoleRequest) -> Live:
    """Send the progress of a job until it ends."""
    await _find(request)
    return Live(_progress(request))


async def _progress(request: ConsoleRequest) -> AsyncGenerator[LiveEvent, None]:
    shown: dict[str, Any] | None = None
    while True:
        try:
            job = await _find(request)
        except ConsoleError:  # it has expired
            return
        except (RedisError, OSError):
            await asyncio.sleep(LOOK)
            continue
        is_over = job.state is not JobState.RUNNING
        if (data := show_job(job, unmasked=request.sees_unmasked)) != shown:
            shown = data
            yield LiveEvent(data, extra=_extra(job))
        if is_over:
            yield LiveEvent(data, "end", extra=_extra(job))
            return
        await asyncio.sleep(LOOK)


async def stop(request: ConsoleRequest) -> Redirect:
    """Ask a job to stop; what it has done stays done."""
    job_id = request.parts["id"]
    if not await request.ports.jobs.store.ask_to_stop(job_id):
        raise ConsoleError(404, "There is no such job, or it is more than a day old.")
    request.note(f"job {job_id}")
    return Redirect(f"/jobs/{job_id}", {"id": job_id})


async def _find(request: ConsoleRequest) -> Job:
    job = await request.ports.jobs.store.read(request.parts["id"])
    if job is None:
        raise ConsoleError(404, "There is no such job, or it is more than a day old.")
    return job


def _extra(job: Job) -> dict[str, Any]:
    kind, _, action = job.what.rpartition(".")
    can_act = action == DRY_RUN and job.state is JobState.DONE and bool(job.counts)
    return {"kind": kind, "action": action, "can_act": can_act, "number": sum(job.counts.values())}


PAGES: Final = (
    Page("GET", "/jobs", list_jobs, Role.VIEWER, "Jobs", "operations/jobs.html", answer=JobsAnswer),
    Page("GET", "/jobs/{id}", show_one, Role.VIEWER, "Job", "operations/job.html", answer=JobAnswer),
    Page(
        "GET",
        "/jobs/{id}/events",
        follow,
        Role.VIEWER,
        "Progress of a job",
        "operations/job_progress.html",
        is_live=True,
    ),
    Page("POST", "/jobs/{id}/stop", stop, Role.OPERATOR, "Stop a job"),
)
