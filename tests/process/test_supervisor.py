"""Supervised processes: restarted when they die, given up when that does not help, stopped in order."""

import asyncio
import signal
import socket
import sys

import pytest

from router.process import supervisor as supervisor_module
from router.process.supervisor import MAX_EARLY_DEATHS, Supervisor
from tests.support.waiting import deadline, until

pytestmark = pytest.mark.processes
#: A program that notes that it is up and waits; at SIGTERM it notes that it is down and ends.
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
#: The same, but it ignores SIGTERM.
STUBBORN = POLITE.replace("lambda *_: over.set()", "signal.SIG_IGN")


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "journal"
    path.touch()
    return path


def program(text, name, journal):
    return [sys.executable, "-c", text, name, str(journal)]


async def has(journal, text, times=1):
    await until(lambda: journal.read_text().count(text) >= times)


async def test_processes_are_stopped_in_reverse_order(journal):
    """The last one started is stopped first, and each is awaited before the next."""
    async with Supervisor(grace=10) as supervisor:
        for name in ("a", "b", "c"):
            await supervisor.start(name, program(POLITE, name, journal))
        for name in ("a", "b", "c"):
            await has(journal, f"{name} up")
    assert journal.read_text().split("\n")[3:6] == ["c down", "b down", "a down"]


async def test_a_process_that_dies_is_restarted(journal, lines):
    """Its death is logged with its exit status."""
    async with Supervisor(grace=10) as supervisor:
        process = await supervisor.start("a", program(POLITE, "a", journal))
        await has(journal, "a up")
        process.kill()
        await has(journal, "a up", 2)
        assert not supervisor.failure
    (line,) = lines("process.restarted")
    assert (line["name"], line["status"]) == ("a", -signal.SIGKILL)


#: A program that says its name through the socket that its supervisor gave it, and ends with the supervisor.
CONNECTED = """
import os, socket, sys
end = socket.socket(fileno=int(os.environ["ROUTER_SUPERVISOR_SOCKET"]))
end.sendall(sys.argv[1].encode())
end.recv(1)
"""


async def test_each_start_of_a_process_has_a_socket_of_its_own(journal):
    """It ends with the process, since neither the supervisor nor another process holds the other end."""
    ends = []

    def connect(name):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        ends.append((name, ours))
        return theirs

    loop = asyncio.get_running_loop()
    async with Supervisor(grace=10, connect=connect) as supervisor:
        processes = [await supervisor.start(name, program(CONNECTED, name, journal)) for name in ("a", "b")]
        async with deadline(30):
            for name, ours in ends:
                assert await loop.sock_recv(ours, 10) == name.encode()
            processes[0].kill()
            assert await loop.sock_recv(ends[0][1], 10) == b""
        await until(lambda: len(ends) == 3)
        name, ours = ends[2]
        async with deadline(30):
            assert (name, await loop.sock_recv(ours, 10)) == ("a", b"a")
    for _, ours in ends:
        ours.close()


async def test_a_process_that_keeps_dying_is_given_up(lines):
    """The failure names the process and its exit status."""
    async with Supervisor(grace=10) as supervisor:
        await supervisor.start("broken", [sys.executable, "-c", "raise SystemExit(7)"])
        async with deadline(30):
            await supervisor.failed()
        assert supervisor.failure.startswith(f"broken ended {MAX_EARLY_DEATHS} times")
        assert supervisor.failure.endswith("status 7")
    assert len(lines("process.restarted")) == MAX_EARLY_DEATHS - 1


async def test_a_restart_that_fails_is_tried_again(journal, lines, monkeypatch):
    """The machine may have no memory, no process or no disk for it at that moment; the reason is logged once."""
    spawn, problems = asyncio.create_subprocess_exec, [BlockingIOError(11, "Resource temporarily unavailable")] * 3

    async def fail(*arguments, **options):
        if journal.read_text() and problems:
            raise problems.pop()
        return await spawn(*arguments, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", fail)
    monkeypatch.setattr(supervisor_module, "RESTART_DELAY", 0.01)
    async with Supervisor(grace=10) as supervisor:
        process = await supervisor.start("a", program(POLITE, "a", journal))
        await has(journal, "a up")
        process.kill()
        await has(journal, "a up", 2)
    assert problems == []
    (line,) = lines("restart.failed")
    assert line["name"] == "a"
    assert line["reason"].startswith("BlockingIOError: ")


async def test_a_process_that_ignores_sigterm_is_killed(journal):
    """It gets SIGKILL after the grace period."""
    async with Supervisor(grace=0.1) as supervisor:
        process = await supervisor.start("deaf", program(STUBBORN, "deaf", journal))
        await has(journal, "deaf up")
    assert process.returncode == -signal.SIGKILL


#: A program that ends once all three of its kind have got SIGTERM.
WAITING = POLITE.replace(
    'note("down")',
    """
note("stopping")
import time
while open(path).read().count("stopping") < 3:
    time.sleep(0.01)
note("down")
""",
)


async def test_without_an_order_all_are_stopped_at_once(journal):
    """All processes get SIGTERM together and share one grace period."""
    async with Supervisor(grace=10, is_ordered=False) as supervisor:
        processes = [await supervisor.start(name, program(WAITING, name, journal)) for name in ("a", "b", "c")]
        for name in ("a", "b", "c"):
            await has(journal, f"{name} up")
    assert [process.returncode for process in processes] == [0, 0, 0]


async def test_each_process_has_its_own_log_file(tmp_path):
    """With `log_dir`, the output of each process goes to a file of its name."""
    command = [sys.executable, "-c", "print('hello'); import threading; threading.Event().wait()"]
    async with Supervisor(grace=5, log_dir=tmp_path) as supervisor:
        await supervisor.start("a", [command[0], "-u", *command[1:]])
        await until(lambda: (tmp_path / "a.log").exists() and "hello" in (tmp_path / "a.log").read_text())


async def test_a_process_gets_the_given_environment(tmp_path):
    """The variables reach the process."""
    command = [sys.executable, "-uc", "import os, threading; print(os.environ['X']); threading.Event().wait()"]
    async with Supervisor(grace=5, log_dir=tmp_path) as supervisor:
        await supervisor.start("a", command, {"X": "given"})
        await until(lambda: (tmp_path / "a.log").exists() and "given" in (tmp_path / "a.log").read_text())


async def test_a_process_that_is_being_restarted_is_stopped_too(journal, monkeypatch):
    """A stop in the middle of a restart leaves no orphan."""
    spawned, spawn = [], asyncio.create_subprocess_exec
    release = asyncio.Event()

    async def slow(*arguments, **options):
        process = await spawn(*arguments, **options)
        spawned.append(process)
        if len(spawned) == 2:
            await release.wait()  # it runs, but the supervisor does not know it yet
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", slow)
    async with Supervisor(grace=5) as supervisor:
        (await supervisor.start("a", program(POLITE, "a", journal))).kill()
        await until(lambda: len(spawned) == 2)
        asyncio.get_running_loop().call_later(0.05, release.set)
    assert [process.returncode for process in spawned] == [-signal.SIGKILL, spawned[1].returncode]
    assert spawned[1].returncode is not None
