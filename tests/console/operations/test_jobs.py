"""The pages of jobs: progress that survives leaving the page, also when another process runs the job."""

from __future__ import annotations

import pytest

from router.console.job_runner import JobSteps
from router.console.roles import Role
from router.core.keys import Keys
from router.operations import dead_letters, quarantine
from router.streams.store.jobs import Job, JobState, JobStore
from tests.console.operations.scenes import HOSTILE
from tests.console.operations.test_dead_letters import finished
from tests.console.operations.test_tail import following
from tests.support.accounts import CUSTOMER

JOB = Job("j1", "dead-letters.replay", "olu", {"reason": HOSTILE}, 1_767_794_580_000_000, seen=3, total=10)


@pytest.fixture
def store(redis):
    """The jobs as another process notes them."""
    return JobStore(redis, Keys())


def change(**changes):
    from dataclasses import replace

    return replace(JOB, **changes)


async def test_the_progress_is_shown_whoever_runs_the_job(reader, store):
    """Without JavaScript the page renews itself; with it, it follows the job."""
    await store.begin(JOB)
    page = await (await reader()).page("/jobs/j1")
    assert page.one("progress").attributes | {} == {"max": "10", "value": "3"}
    assert page.one("div", id="progress").attributes["hx-sse:connect"] == "/jobs/j1/events"
    assert page.all("img") == []
    viewer = await reader(Role.VIEWER)
    assert (await viewer.page("/jobs")).rows()[0][1:4] == ["dead-letters.replay", "olu", "running"]
    assert (await viewer.json("/jobs"))["items"][0]["seen"] == 3
    _, _, text = await viewer.visitor.get("/jobs/j1")
    assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in text


async def test_an_open_page_follows_the_job_to_its_end(reader, store):
    """What it did is shown at the end, and the connection is closed."""
    await store.begin(JOB)
    operator = await reader()
    async with (
        following(operator, "/jobs/j1/events") as page,
        following(operator, "/jobs/j1/events", is_program=True) as data,
    ):
        assert "3 of 10 looked at" in (await page.next())[1]
        assert '"seen":3' in (await data.next())[1]
        await store.note(change(state=JobState.DONE, seen=10, counts={"replay": 9, HOSTILE: 1}, ended_at=2))
        name, text = await page.next()
        assert name == "message"
        assert "10 of 10 looked at, 10 done or tried" in text
        assert "<img" not in text
        assert (await page.next())[0] == "end"
        assert '"state":"done"' in (await data.next())[1]
        assert (await data.next())[0] == "end"
        assert await page.answer.content.read() == b""


async def test_a_running_job_is_stopped_by_an_operator_only(reader, store):
    """Whichever process runs it: it is asked to."""
    await store.begin(JOB)
    assert (await (await reader(Role.VIEWER)).page("/jobs/j1")).all("form") == []
    operator = await reader()
    form = (await operator.page("/jobs/j1")).one("div", id="progress").one("form")
    assert await operator.press(form.attributes["action"], status=303) == "/jobs/j1"
    assert await store.note(JOB) is True


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"state": JobState.FAILED, "problem": "ConnectionError at x.py:1"}, "ConnectionError at x.py:1"),
        ({"state": JobState.STOPPED}, "stopped"),
        ({"state": JobState.DONE}, "Nothing matches."),
        ({"what": "dead-letters.dry-run", "state": JobState.DONE, "counts": {"goes back": 2}}, "Replay these 2"),
        ({"what": "quarantine.dry-run", "state": JobState.FAILED, "counts": {"x": 2}}, "failed"),
    ],
)
async def test_an_ended_job_says_how(reader, store, changes, text):
    """Only a dry run that is done can be acted on."""
    await store.begin(change(**changes))
    page = await (await reader()).page("/jobs/j1")
    assert text in page.text
    assert ("Replay these" in page.text) == (text == "Replay these 2")
    assert "hx-sse:connect" not in page.one("div", id="progress").attributes


async def test_an_interrupted_job_says_what_to_do(reader, store, redis):
    """Its console was killed, and nobody goes on with it."""
    await store.begin(JOB)
    await redis.delete(Keys().job("alive:j1"))
    page = await (await reader()).page("/jobs/j1")
    assert "The console that ran it has ended" in page.text


@pytest.mark.parametrize("name", ["unknown", "list", "j1:alive", "%00"])
async def test_a_job_that_does_not_exist_is_not_found(reader, store, name):
    """It may have expired; other keys of the kind are no jobs."""
    await store.begin(JOB)
    operator = await reader()
    await operator.page(f"/jobs/{name}", status=404)
    await operator.json(f"/jobs/{name}/events", status=404)
    await operator.press(f"/jobs/{name}/stop", status=404)


async def test_an_address_in_a_filter_is_masked_for_a_viewer(reader, store):
    """An operator may have typed it."""
    await store.begin(change(filters={"reason": CUSTOMER}))
    for role, shown in ((Role.VIEWER, "+155***01"), (Role.OPERATOR, CUSTOMER)):
        person = await reader(role)
        assert (await person.json("/jobs/j1"))["filters"] == {"reason": shown}
        for path in ("/jobs", "/jobs/j1"):
            assert (CUSTOMER in (await person.page(path)).text) == (role is Role.OPERATOR)


@pytest.mark.parametrize("path", ["/dead-letters", "/quarantine"])
async def test_a_dry_run_reports_its_progress_while_nothing_matches(reader, scenes, monkeypatch, path):
    """It can be stopped there."""
    for module in (dead_letters, quarantine):
        monkeypatch.setattr(module, "LOOKED_AT", 2)
    for number in range(5):
        await (scenes.letter(number=number) if path == "/dead-letters" else scenes.refused(body=b"%d" % number))
    reported, note = [], JobSteps.note_progress
    monkeypatch.setattr(
        JobSteps, "note_progress", lambda steps, progress: (reported.append(progress.looked_at), note(steps, progress))
    )
    operator = await reader()
    job = await operator.send(path, {"action": "dry-run", "reason": "no such words"})
    assert (await finished(operator, job["id"]))["counts"] == {}
    assert reported == [2, 4, 5]
