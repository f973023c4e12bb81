"""Bulk actions in the background: their progress, their end, and what stops them."""

from __future__ import annotations

import asyncio

import pytest

from router.console import job_runner
from router.console.job_runner import MOST_KINDS, OTHERS, JobBusyError, JobRunner, JobSteps
from router.core.bulk import BulkProgress, EntryOutcome
from router.core.keys import Keys
from router.streams.client.connection import connect
from router.streams.store.audit import AuditLog
from router.streams.store.jobs import Job, JobState, JobStore
from tests.support.waiting import let_tasks_run, scaled, until

pytestmark = pytest.mark.real


@pytest.fixture
async def runner(redis, monkeypatch):
    """The runner of one console process, which notes the progress often."""
    monkeypatch.setattr(job_runner, "BEAT", 0.01)
    monkeypatch.setattr(job_runner, "RETRY", 0.01)
    runner = make_runner(redis)
    yield runner
    await runner.close()


def make_runner(redis):
    return JobRunner(JobStore(redis, Keys()), AuditLog(redis, Keys()), clock=lambda: 1)


async def start(runner, work, what="dead-letters.replay"):
    return await runner.start(what, "olu", "operator", {"reason": "x"}, work)


async def state_of(runner, job):
    return (await runner.store.read(job.job_id)).state


async def test_a_job_is_noted_before_it_begins_and_after_it_ended(runner):
    """Its page can be opened at once, and shows what it did; the audit has the sum."""
    go = asyncio.Event()

    async def work(steps):
        await go.wait()
        steps.note_outcome(EntryOutcome("1-0", is_done=True, text="back on a stream as 2-0"))
        steps.note_outcome(EntryOutcome("3-0", is_done=False, text="already gone"))
        steps.note_progress(BulkProgress(total=9, looked_at=3))

    job = await start(runner, work)
    assert await state_of(runner, job) is JobState.RUNNING
    go.set()
    await until(lambda: _is_over(runner, job))
    ended = await runner.store.read(job.job_id)
    assert (ended.state, ended.counts, ended.seen, ended.total) == (
        JobState.DONE,
        {"replay": 1, "already gone": 1},
        3,
        9,
    )
    (entry,) = await runner._audit.read()
    assert (entry.who, entry.role, entry.action) == ("olu", "operator", "dead-letters.replay done")
    assert (entry.what, entry.detail) == (f"job {job.job_id}", "replay: 1; already gone: 1")


async def _is_over(runner, job):
    return await state_of(runner, job) is not JobState.RUNNING


async def test_the_progress_is_seen_by_every_process(runner, redis_url):
    """While the job runs, and whoever asks."""
    go = asyncio.Event()

    async def work(steps):
        steps.note_progress(BulkProgress(total=9, looked_at=4))
        await go.wait()

    job = await start(runner, work)
    async with connect(redis_url, timeout=scaled(20)) as client:
        other = JobStore(client, Keys())

        async def has_progress():
            return (await other.read(job.job_id)).seen == 4

        await until(has_progress)
        go.set()


async def test_one_job_of_a_kind_runs_at_a_time(runner):
    """Two replays of everything would only disturb each other; another kind may run beside it."""
    go = asyncio.Event()

    async def work(_):
        await go.wait()

    job = await start(runner, work)
    with pytest.raises(JobBusyError):
        await start(runner, work)
    await start(runner, work, what="quarantine.replay")
    go.set()
    await until(lambda: _is_over(runner, job))
    await let_tasks_run()
    await start(runner, work)


async def test_any_process_may_stop_a_job(runner, redis_url):
    """It ends with the next step, and what it has done stays done."""

    async def work(steps):
        steps.count("done")
        while True:
            steps.note_progress(BulkProgress(total=9, looked_at=4))
            await let_tasks_run()

    job = await start(runner, work)
    async with connect(redis_url, timeout=scaled(20)) as client:
        await JobStore(client, Keys()).ask_to_stop(job.job_id)
    await until(lambda: _is_over(runner, job))
    ended = await runner.store.read(job.job_id)
    assert (ended.state, ended.counts) == (JobState.STOPPED, {"done": 1})


async def test_a_job_that_fails_says_why_without_private_data(runner, lines):
    """Its page has the type and place of the error, and so has the log."""

    async def work(steps):
        steps.count("done")
        raise ValueError("+15551230001")

    job = await start(runner, work)
    await until(lambda: _is_over(runner, job))
    ended = await runner.store.read(job.job_id)
    assert (ended.state, ended.counts) == (JobState.FAILED, {"done": 1})
    assert ended.problem.startswith("ValueError at test_job_runner.py")
    (line,) = lines("job.failed")
    assert (line["job"], line["what"]) == (job.job_id, "dead-letters.replay")


async def test_a_console_that_ends_leaves_its_jobs_interrupted(runner, redis):
    """Once its sign of life has expired, which nothing renews."""
    started = asyncio.Event()

    async def work(_):
        started.set()
        await asyncio.Event().wait()

    job = await start(runner, work)
    await started.wait()
    await runner.close()
    await redis.delete(Keys().job(f"alive:{job.job_id}"))
    assert await state_of(runner, job) is JobState.INTERRUPTED


async def test_the_end_is_noted_once_redis_is_back(own_server, clients, monkeypatch):
    """A job that ended during an outage does not stay under way for ever."""
    monkeypatch.setattr(job_runner, "RETRY", 0.01)
    runner = make_runner(clients(own_server.url, timeout=1))
    go = asyncio.Event()

    async def work(_):
        await go.wait()

    job = await start(runner, work)
    own_server.kill()
    go.set()
    await let_tasks_run()
    await own_server.start()

    async def is_noted():
        found = await runner.store.read(job.job_id)
        return found is not None and found.state is JobState.DONE

    await until(is_noted)
    await runner.close()


async def test_a_job_that_cannot_be_noted_does_not_begin(own_server, clients):
    """Otherwise nobody would know what it does."""
    runner = make_runner(clients(own_server.url, timeout=1))
    begun = []

    async def work(_):
        begun.append(1)

    own_server.kill()
    with pytest.raises(Exception, match="connect"):
        await start(runner, work)
    await let_tasks_run()
    assert begun == []


def test_outcomes_are_bounded_in_number():
    """A text that differs for each entry must not fill the page."""
    steps = JobSteps(Job("j", "quarantine.replay", "olu", {}, 1))
    for number in range(MOST_KINDS + 5):
        steps.count(f"outcome {number}")
    steps.count("outcome 0")
    assert len(steps.job.counts) == MOST_KINDS + 1
    assert (steps.job.counts["outcome 0"], steps.job.counts[OTHERS]) == (2, 5)


@pytest.mark.parametrize("is_done", [True, False])
def test_an_outcome_of_a_known_kind_is_never_among_the_others(is_done):
    """What was done, and how many were refused for which reason, is told however many texts there were before."""
    steps = JobSteps(Job("j", "quarantine.replay", "olu", {}, 1))
    for number in range(MOST_KINDS):
        steps.note_outcome(EntryOutcome("1-0", is_done=False, text=f"no account {number}", kind="no account, other"))
    for number in range(2):
        steps.note_outcome(EntryOutcome("1-0", is_done=is_done, text=f"no account x{number}", kind="no account, other"))
    assert OTHERS not in steps.job.counts
    assert steps.job.counts["replay" if is_done else "no account, other"] == 2


def test_a_number_in_an_outcome_is_masked():
    """The reason for a refusal may quote what a stranger wrote."""
    steps = JobSteps(Job("j", "quarantine.replay", "olu", {}, 1))
    steps.note_outcome(EntryOutcome("1-0", is_done=False, text="no account +15551230001"))
    assert list(steps.job.counts) == ["no account +155***01"]


def test_a_number_in_an_outcome_of_a_dry_run_is_masked():
    """A dry run counts the same reasons by themselves; also a number without its plus."""
    steps = JobSteps(Job("j", "quarantine.dry-run", "olu", {}, 1))
    steps.count("still refused: 403 account: account 15551230001 is not configured")
    assert list(steps.job.counts) == ["still refused: 403 account: account 1555***01 is not configured"]
