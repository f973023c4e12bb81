"""Bulk actions over everything that matches a filter: first a dry run, then what it has shown.

A replay or drop names the dry run that it follows, and acts on the same filter, up to the time of that dry run: what
arrived later was not seen and is not touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from router.console.job_runner import JobBusyError
from router.console.operations.parts import read_filters, read_selection, read_time
from router.console.pages import ConsoleError, Redirect
from router.core.printable import masked
from router.core.timestamps import to_text
from router.streams.store.jobs import JobState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router.console.job_runner import Work
    from router.console.request import ConsoleRequest
    from router.operations.selection import Selection
    from router.streams.store.jobs import Job

    #: Returns the work of an action, over what is selected.
    MakeWork = Callable[[ConsoleRequest, Selection], Work]

DRY_RUN: Final = "dry-run"
DROP: Final = "drop"
#: µs for which a dry run can be acted on.
FRESH: Final = 3600 * 1_000_000
#: µs by which the end of a dry run's filter is later than its start: the precision of its text.
_PRECISION: Final = 1000


class BulkForm(BaseModel):
    """A bulk action: a `dry-run` with filters, or one that does what the named `dry_run` has shown."""

    model_config = ConfigDict(extra="ignore")

    action: Literal["dry-run", "replay", "drop"]
    dry_run: str = Field("", description="the id of the job that was the dry run; for replay and drop")
    confirm: str = Field("", description="`yes`, for drop: what is dropped is gone")
    reason: str = ""
    stream: str = ""
    group: str = ""
    account: str = ""
    source: str = ""
    event: str = ""
    since: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True)
class BulkKind:
    """A list that bulk actions work on: its name, which is its path as well, and the work of each action."""

    name: str
    works: Mapping[str, MakeWork]


async def start_bulk(request: ConsoleRequest, kind: BulkKind) -> Redirect:
    """Start the job that the form of a request describes; raises ConsoleError."""
    form = await request.form()
    action, now = form.get("action"), request.ports.clock()
    make_work = kind.works.get(action) if isinstance(action, str) else None
    if make_work is None:
        raise ConsoleError(400, f"action must be one of {', '.join(kind.works)}.")
    dry_run = None
    if action == DRY_RUN:
        filters = read_filters(form)
        until = read_time("until", filters.get("until", ""), now)
        if until is None or until > now:  # nobody has seen what will arrive until then
            filters["until"] = to_text(now + _PRECISION)
    else:
        dry_run = await _find_dry_run(request, kind, form)
        filters = dict(dry_run.filters)
        if action == DROP and form.get("confirm") != "yes":
            raise ConsoleError(400, "Dropping is for good: confirm it (confirm=yes).")
    work = make_work(request, read_selection(filters, dry_run.started_at if dry_run else now))
    what = f"{kind.name}.{action}"
    request.note(what, " ".join(f"{name}={text}" for name, text in filters.items()))
    try:
        job = await request.ports.jobs.start(
            what, request.user, request.role, filters, work, dry_run=dry_run.job_id if dry_run else None
        )
    except JobBusyError as error:
        raise ConsoleError(409, f"Another {what} is under way: see the list of jobs.") from error
    return Redirect(f"/jobs/{job.job_id}", show_job(job, unmasked=request.sees_unmasked))


async def _find_dry_run(request: ConsoleRequest, kind: BulkKind, form: Mapping[str, Any]) -> Job:
    name = form.get("dry_run")
    job = await request.ports.jobs.store.read(name) if isinstance(name, str) and name else None
    if job is None or job.what != f"{kind.name}.{DRY_RUN}" or job.state is not JobState.DONE:
        raise ConsoleError(409, "Make a dry run first, and name it (dry_run): it shows what would be done.")
    if request.ports.clock() - job.started_at > FRESH:
        raise ConsoleError(409, "The dry run is more than an hour old: make a new one.")
    return job


def show_job(job: Job, *, unmasked: bool) -> dict[str, Any]:
    """Return a job for programs; somebody may have typed an address into a filter."""
    return {
        "id": job.job_id,
        "what": job.what,
        "who": job.who,
        "filters": {name: text if unmasked else masked(text, has_ids=False) for name, text in job.filters.items()},
        "state": job.state,
        "seen": job.seen,
        "total": job.total,
        "counts": dict(job.counts),
        "problem": job.problem,
        "dry_run": job.dry_run,
        "started_at": to_text(job.started_at),
        "ended_at": None if job.ended_at is None else to_text(job.ended_at),
    }
