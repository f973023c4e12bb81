"""Forked processes behave as those that are started."""

import asyncio
import gc
import os
import select
import signal
import socket
import warnings

import pytest

from tests.harness.fork_server import find_fork_server, fork_process
from tests.harness.processes import ProcessHandle, spawn, start_process
from tests.support.waiting import scaled, until

pytestmark = pytest.mark.processes


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("router", "--version"), 0, "participant-router "),
        (("router", "no-such-command"), 2, "invalid choice"),
        (("handlers", "--list"), 0, "ai_agent"),
        (("tests.streams.consumer_program",), 1, "Traceback"),
    ],
)
async def test_a_process_that_ends_at_once(tmp_path, arguments, status, text):
    """Its status and its output are those of `python -m`; started and forked."""
    forked = await start_process(tmp_path, *arguments)
    started = await spawn(tmp_path / "started", "-m", *arguments, environment={"PYTHONUNBUFFERED": "1"})
    assert [await one.wait() for one in (forked, started)] == [status, status]
    assert text in forked.text
    assert text in started.text


async def test_who_waits_learns_the_end_that_somebody_else_saw_first(tmp_path):
    """A look at the status takes nothing away from a task that waits for it."""
    process = await start_process(tmp_path, "router", "sandbox", "--port", "0")
    waiting = [asyncio.create_task(process.wait()) for _ in range(2)]
    await until(lambda: process.text)
    process.send_signal(signal.SIGKILL)
    while process.returncode is None:  # without a pause, so that none of the tasks gets to run
        pass
    assert process.returncode == -signal.SIGKILL
    assert await asyncio.gather(*waiting) == [-signal.SIGKILL] * 2
    assert not process.send_signal(signal.SIGTERM)


async def test_a_wait_that_is_canceled_as_the_process_ends_takes_no_status(tmp_path):
    """Its supervisor stops watching it in the moment in which it ends, and then waits for its end."""
    with (tmp_path / "output").open("wb") as output:
        process = await fork_process("router", "--version", environment={}, output=output, error=output)
    waiting = asyncio.create_task(process.wait())
    await asyncio.sleep(0)
    readable, _, _ = select.select([process._connection], [], [], scaled(60))
    assert readable
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.call_soon, waiting.cancel)  # after the loop has seen the status, before the task runs again
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(scaled(10)):
        assert await process.wait() == 0


async def test_who_is_killed_before_its_request_stops_nobody(tmp_path):
    """The server goes on with the next request."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(await asyncio.to_thread(find_fork_server))
    connection.close()
    process = await start_process(tmp_path, "router", "--version")
    assert await process.wait() == 0


async def test_it_gets_the_given_variables_only(tmp_path, monkeypatch):
    """No setting of the process that asks for it."""
    monkeypatch.setenv("ROUTER_WINDOW", "0")
    for given in ({}, {"ROUTER_WINDOW": "0"}):
        process: ProcessHandle = await start_process(tmp_path, "router", "work", **given)
        assert await process.wait() == 2
        assert ("ROUTER_WINDOW" in process.text) == bool(given)


async def test_nobody_has_to_wait_for_it(tmp_path):
    """Its connection closes without a warning, even in a circle of objects that is collected as a whole."""
    process = await start_process(tmp_path, "router", "sandbox", "--port", "0")
    await process.kill()
    forgotten = await start_process(tmp_path, "router", "sandbox", "--port", "0")
    pid = forgotten.pid
    circle = [forgotten]
    circle.append(circle)
    del forgotten, circle
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.collect()
    os.killpg(pid, signal.SIGKILL)
    assert [str(one.message) for one in caught] == []
