"""Processes kept running: started again when they die, given up when that does not help, ended in order."""

import asyncio
import io
import signal
import sys

import orjson
import pytest

from router import logs
from router.process.supervisor import QUICK_DEATHS, Supervisor
from tests.support.waiting import until

pytestmark = pytest.mark.processes
#: Says that it is there, then waits; ends at SIGTERM with a line, or ignores it.
POLITE = """
import pathlib, signal, sys, threading
name, path = sys.argv[1:]
def note(word):
    with open(path, "a") as file:
        file.write(f"{name} {word}\\n")
over = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: over.set())
note("up")
over.wait()
note("down")
"""
STUBBORN = POLITE.replace("lambda *_: over.set()", "signal.SIG_IGN")


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "journal"
    path.touch()
    return path


@pytest.fixture
def lines(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(logs._Output, "stream", stream)
    monkeypatch.setattr(logs._Output, "is_json", True)
    return lambda: [orjson.loads(line) for line in stream.getvalue().splitlines()]


def program(text, name, journal):
    return [sys.executable, "-c", text, name, str(journal)]


async def has(journal, text, times=1):
    await until(lambda: journal.read_text().count(text) >= times)


async def test_all_are_ended_in_reverse_order(journal):
    """Leaving ends the last one first, and waits for each."""
    async with Supervisor(grace=10) as supervisor:
        for name in ("a", "b", "c"):
            await supervisor.start(name, program(POLITE, name, journal))
        for name in ("a", "b", "c"):
            await has(journal, f"{name} up")
    assert journal.read_text().split("\n")[3:6] == ["c down", "b down", "a down"]


async def test_what_dies_is_started_again(journal, lines):
    """Death is noticed, logged with its status, and mended."""
    async with Supervisor(grace=10) as supervisor:
        process = await supervisor.start("a", program(POLITE, "a", journal))
        await has(journal, "a up")
        process.kill()
        await has(journal, "a up", 2)
        assert not supervisor.failure
    (line,) = [line for line in lines() if line["event"] == "process.restarted"]
    assert (line["name"], line["status"]) == ("a", -signal.SIGKILL)


async def test_what_dies_again_and_again_is_given_up(lines):
    """A process that never lives long is a failure, told with its name and status; the others are ended as usual."""
    async with Supervisor(grace=10) as supervisor:
        await supervisor.start("broken", [sys.executable, "-c", "raise SystemExit(7)"])
        async with asyncio.timeout(30):
            await supervisor.failed()
        assert supervisor.failure.startswith(f"broken ended {QUICK_DEATHS} times")
        assert supervisor.failure.endswith("status 7")
    assert len([line for line in lines() if line["event"] == "process.restarted"]) == QUICK_DEATHS - 1


async def test_who_does_not_listen_is_killed(journal):
    """After the grace there is SIGKILL."""
    async with Supervisor(grace=0.1) as supervisor:
        process = await supervisor.start("deaf", program(STUBBORN, "deaf", journal))
        await has(journal, "deaf up")
    assert process.returncode == -signal.SIGKILL


#: Ends once it knows that all of three were told to end.
WAITING = POLITE.replace(
    'note("down")',
    """
note("told")
import time
while open(path).read().count("told") < 3:
    time.sleep(0.01)
note("down")
""",
)


async def test_equals_are_ended_at_once(journal):
    """Processes that do not need each other are told together: so many share one grace, not one each."""
    async with Supervisor(grace=10, is_ordered=False) as supervisor:
        processes = [await supervisor.start(name, program(WAITING, name, journal)) for name in ("a", "b", "c")]
        for name in ("a", "b", "c"):
            await has(journal, f"{name} up")
    assert [process.returncode for process in processes] == [0, 0, 0]


async def test_output_goes_to_a_file_of_its_own(tmp_path):
    """With a folder for logs, each process writes to its own file there."""
    command = [sys.executable, "-c", "print('hello'); import threading; threading.Event().wait()"]
    async with Supervisor(grace=5, log_dir=tmp_path) as supervisor:
        await supervisor.start("a", [command[0], "-u", *command[1:]])
        await until(lambda: (tmp_path / "a.log").exists() and "hello" in (tmp_path / "a.log").read_text())


async def test_environment_is_the_one_that_was_given(tmp_path):
    """A process gets exactly what it was given."""
    command = [sys.executable, "-uc", "import os, threading; print(os.environ['X']); threading.Event().wait()"]
    async with Supervisor(grace=5, log_dir=tmp_path) as supervisor:
        await supervisor.start("a", command, {"X": "given"})
        await until(lambda: (tmp_path / "a.log").exists() and "given" in (tmp_path / "a.log").read_text())


async def test_nothing_survives_a_stop_in_the_middle_of_a_restart(journal, monkeypatch):
    """A process that is being started again when everything ends is ended as well: no orphan is left."""
    spawned, spawn = [], asyncio.create_subprocess_exec
    release = asyncio.Event()

    async def slow(*arguments, **options):
        process = await spawn(*arguments, **options)
        spawned.append(process)
        if len(spawned) == 2:
            await release.wait()  # there already, but not known yet
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", slow)
    async with Supervisor(grace=5) as supervisor:
        (await supervisor.start("a", program(POLITE, "a", journal))).kill()
        await until(lambda: len(spawned) == 2)
        asyncio.get_running_loop().call_later(0.05, release.set)
    assert [process.returncode for process in spawned] == [-signal.SIGKILL, spawned[1].returncode]
    assert spawned[1].returncode is not None
