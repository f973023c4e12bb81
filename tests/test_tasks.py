"""Reliable cancellation of tasks."""

from __future__ import annotations

import asyncio
import contextlib
import sys

import pytest

from router.tasks import end


async def test_a_task_that_swallows_a_cancellation_is_canceled_again():
    """However many cancellations are lost, the task has ended when `end` returns."""
    lost = []

    async def stubborn():
        while len(lost) < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost.append(1)
        await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await end(task, patience=0.01)
    assert task.cancelled()
    assert len(lost) == 3


async def test_tasks_that_have_ended_or_fail_while_they_end_raise_nothing():
    """Finished, failed and failing tasks are accepted, and so is an empty list."""

    async def fail():
        raise ValueError

    async def fail_late():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        raise ValueError

    tasks = [asyncio.create_task(work) for work in (asyncio.sleep(0), fail(), fail_late())]
    await asyncio.wait(tasks, timeout=0.01)
    await end(*tasks)
    await end()
    assert all(task.done() for task in tasks)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="fixed in Python 3.12")
async def test_wait_for_swallows_a_cancellation_in_python_3_11():
    """The reason for `end`: a cancellation that arrives together with the result is lost."""
    done = asyncio.get_running_loop().create_future()

    async def wait():
        await asyncio.wait_for(done, 5)
        return "not canceled"

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    done.set_result(None)
    task.cancel()
    assert await task == "not canceled"
