"""The jobs of the console, as every console process sees them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from router.core.keys import Keys
from router.streams.store import jobs
from router.streams.store.jobs import Job, JobState, JobStore

pytestmark = pytest.mark.real


def make(job_id="j1", started_at=1, **changes):
    return replace(Job(job_id, "dead-letters.replay", "dana", {"reason": "ValueError"}, started_at), **changes)


@pytest.fixture
def store(redis):
    return JobStore(redis, Keys())


async def test_a_job_is_read_as_it_was_noted(store):
    """With its progress, as another process sees it."""
    await store.begin(make())
    noted = make(seen=3, total=10, counts={"back on its stream": 3})
    await store.note(noted)
    assert await store.read("j1") == noted


async def test_a_job_that_does_not_exist_is_none(store):
    """The id in an old link may have expired."""
    assert await store.read("j1") is None
    assert await store.newest() == []
    assert not await store.ask_to_stop("j1")


async def test_a_request_to_stop_is_seen_at_the_next_note(store):
    """Any process may ask, the one that runs it obeys."""
    await store.begin(make())
    assert await store.note(make(seen=1)) is False
    assert await store.ask_to_stop("j1")
    assert await store.note(make(seen=2)) is True


async def test_a_job_without_a_sign_of_life_is_interrupted(store, redis):
    """A console that was killed has not said that its job ended."""
    await store.begin(make(seen=5))
    await redis.delete(Keys().job("alive:j1"))
    found = await store.read("j1")
    assert (found.state, found.seen) == (JobState.INTERRUPTED, 5)
    await store.note(make(seen=6, state=JobState.DONE, ended_at=9))
    assert (await store.read("j1")).state is JobState.DONE


async def test_the_newest_jobs_are_listed_first(store, monkeypatch):
    """The oldest fall out of the list, and can still be read by their id."""
    monkeypatch.setattr(jobs, "MOST", 2)
    for number in range(3):
        await store.begin(make(f"j{number}", started_at=number))
    assert [job.job_id for job in await store.newest()] == ["j2", "j1"]
    assert (await store.read("j0")).job_id == "j0"
