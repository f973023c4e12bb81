"""Signals, event loop and garbage collection of every process."""

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from router.process import loop
from router.process.loop import GC_THRESHOLD, Stop, run, settle_heap, until_stopped_or
from tests.support.waiting import deadline, until


async def begun(task):
    """Wait until the task listens for signals."""
    await until(lambda: signal.getsignal(signal.SIGTERM) not in {signal.SIG_DFL, None})
    return task


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_both_signals_stop(signals, number):
    """SIGTERM and SIGINT have the same effect, and a second one while stopping has none."""
    task = await begun(asyncio.create_task(Stop().wait()))
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), number)
    async with deadline(5):
        await task


async def test_a_signal_cancels_the_work(signals):
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
    async with deadline(5):
        assert await task is None
    assert ended


async def test_work_that_ends_first_gives_its_result(signals):
    """No signal came: the result is passed on, at once."""

    async def work():
        return "lost"

    async with deadline(5):
        assert await until_stopped_or(work()) == "lost"


async def test_work_that_fails_first_raises(signals):
    """The caller decides what an error means."""

    async def work():
        raise OSError("port in use")

    async with deadline(5):
        with pytest.raises(OSError, match="port in use"):
            await until_stopped_or(work())


async def test_signals_are_noticed_from_the_start(signals):
    """A signal that comes before anybody waits for it is not lost."""
    stop = Stop()
    os.kill(os.getpid(), signal.SIGTERM)
    async with deadline(5):
        assert await stop.or_end_of(asyncio.Event().wait()) is None


#: A process whose end hangs where no cancellation helps; it prints when it has been asked to stop.
STUBBORN = """
import asyncio, threading
from router.process.loop import Stop, run

async def main():
    stop = Stop(grace=0.1)
    print("up", flush=True)
    await stop.wait()
    {}
    return 0

raise SystemExit(run(main()))
"""


@pytest.mark.processes
@pytest.mark.parametrize(
    ("hanging", "status"),
    [
        ("threading.Event().wait()", 1),
        ("await asyncio.shield(asyncio.Event().wait())", 1),
        ("threading.Thread(target=threading.Event().wait).start()", 0),
    ],
    ids=["the event loop", "a task", "a thread at the end"],
)
async def test_a_process_ends_whatever_hangs(hanging, status):
    """Its own thread ends it, a second after the grace at the latest; the status is that of its work, if that ended."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STUBBORN.format(hanging), stdout=subprocess.PIPE
    )
    assert await process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGTERM)
    async with deadline(10):
        output, _ = await process.communicate()
    assert process.returncode == status
    assert json.loads(output)["event"] == "process.failed"


@pytest.mark.processes
async def test_a_process_ends_although_its_log_hangs():
    """The disk of the log does not answer, neither for the work nor for the line that says so."""
    code = """
import threading
from router import logs

class Hanging:
    def write(self, text):
        threading.Event().wait()

logs.setup(process="worker", stream=Hanging())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code + STUBBORN.format("logs.log('process.stopping')"), stdout=subprocess.PIPE
    )
    assert await process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGTERM)
    try:
        async with deadline(10):
            await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 1


def test_run_returns_the_exit_status():
    """The result of the main coroutine is the exit status, with uvloop and without it."""
    code = "from router.process.loop import run\nasync def main(): return 3\nraise SystemExit(run(main()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 3
    blocked = "import sys\nsys.modules['uvloop'] = None\n" + code
    assert subprocess.run([sys.executable, "-c", blocked], check=False).returncode == 3
    assert callable(run)


def test_the_last_resort_spares_a_process_that_goes_on(monkeypatch):
    """What `run` ran has ended, so the threads that were to end the process do nothing, also in a further run."""
    monkeypatch.setattr(loop, "TEARDOWN", 0.05)

    async def wait_for_timers() -> int:
        for one in threading.enumerate():
            if isinstance(one, threading.Timer):
                one.join()  # ends this process if it is about this run
        return 3

    assert run(wait_for_timers()) == 3
    assert run(wait_for_timers()) == 3


def test_the_objects_of_the_start_are_not_collected_again():
    """They are frozen, and collections become less frequent."""
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
