"""What every process does about signals and the event loop."""

import asyncio
import gc
import os
import signal
import subprocess
import sys

import pytest

from router.process.loop import GC_THRESHOLD, run, settle_heap, until_stopped, until_stopped_or
from tests.support.waiting import until


@pytest.fixture
def handlers():
    """Put the signals back as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


async def begun(task):
    """Wait until the task listens for signals."""
    await until(lambda: signal.getsignal(signal.SIGTERM) not in {signal.SIG_DFL, None})
    return task


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_both_signals_stop(handlers, number):
    """SIGTERM and Ctrl-C are the same, and a second one while winding up changes nothing."""
    task = await begun(asyncio.create_task(until_stopped()))
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), number)
    async with asyncio.timeout(5):
        await task


async def test_a_signal_cancels_the_work(handlers):
    """The process is to stop first: the work is canceled and has ended, and there is no result."""
    ended = []

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    task = await begun(asyncio.create_task(until_stopped_or(work())))
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(5):
        assert await task is None
    assert ended


async def test_work_that_ends_first_gives_its_result(handlers):
    """No signal came: the result is passed on, at once."""

    async def work():
        return "lost"

    async with asyncio.timeout(5):
        assert await until_stopped_or(work()) == "lost"


async def test_work_that_fails_first_raises(handlers):
    """The caller decides what an error means."""

    async def work():
        raise OSError("port in use")

    async with asyncio.timeout(5):
        with pytest.raises(OSError, match="port in use"):
            await until_stopped_or(work())


def test_run_returns_the_status():
    """The main coroutine's number is the exit status, on the fast loop where there is one."""
    code = "from router.process.loop import run\nasync def main(): return 3\nraise SystemExit(run(main()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 3
    blocked = "import sys\nsys.modules['uvloop'] = None\n" + code
    assert subprocess.run([sys.executable, "-c", blocked], check=False).returncode == 3
    assert callable(run)


def test_the_collector_looks_no_more_at_what_the_start_has_made():
    """Collecting it all would stop a process for tens of milliseconds, several times a second."""
    made = [[] for _ in range(10_000)]
    before, threshold = gc.get_freeze_count(), gc.get_threshold()
    settle_heap()
    try:
        assert gc.get_threshold() == (GC_THRESHOLD, *threshold[1:])
        assert gc.get_freeze_count() - before >= len(made)
        assert not any(one is made for one in gc.get_objects())
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)
