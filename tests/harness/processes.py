"""Processes of the project: started with an environment of their own, watched by their log lines."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from tests.harness.fork_server import can_fork, fork_process
from tests.support.source import ROOT, SHIPPED
from tests.support.waiting import deadline, until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Process(Protocol):
    """What a handle needs of a process: of asyncio's own, and of one that the fork server started."""

    pid: int
    returncode: int | None

    def send_signal(self, number: int) -> None:
        """Send a signal; ProcessLookupError if it has ended."""

    async def wait(self) -> int:
        """Return its exit status once it has ended."""


class ProcessHandle:
    """A started process; `output` is its log, with one JSON object a line."""

    def __init__(self, process: Process, output: Path) -> None:
        self.process, self.output = process, output

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status (the negative number of the signal that killed it), None while it runs."""
        return self.process.returncode

    @property
    def text(self) -> str:
        """All of its output so far."""
        return self.output.read_text(encoding="utf-8")

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its complete log lines so far."""
        whole = [line for line in self.text.splitlines(keepends=True) if line.endswith("\n") and line[0] == "{"]
        return [json.loads(line) for line in whole]

    def find(self, event: str) -> list[dict[str, Any]]:
        """Return its log lines of one event."""
        return [line for line in self.lines if line["event"] == event]

    async def started(self, times: int = 1) -> list[dict[str, Any]]:
        """Wait until it (or so many of its children) logs that it is up; returns these lines."""
        await until(lambda: len(self.find("process.started")) >= times or self.returncode is not None)
        assert self.returncode is None, self.text
        return self.find("process.started")

    @property
    def children(self) -> list[int]:
        """The process ids of its children."""
        rows = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True).stdout
        pairs = (row.split() for row in rows.splitlines())
        return [int(child) for child, parent in pairs if int(parent) == self.pid]

    def send_signal(self, number: int) -> bool:
        """Send a signal; returns False if it has ended already."""
        try:
            self.process.send_signal(number)
        except ProcessLookupError:
            return False
        return True

    async def wait(self, limit: float = 60.0) -> int:
        """Return its exit status once it has ended; TimeoutError after `limit` scaled seconds."""
        async with deadline(limit):
            return await self.process.wait()

    async def stop(self, number: int = signal.SIGTERM, *, limit: float = 60.0) -> int:
        """Send a signal and return the exit status."""
        self.send_signal(number)
        return await self.wait(limit)

    async def kill(self) -> None:
        """End it and all its children at once, whatever state they are in."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self.wait()


async def start_process(directory: Path, *arguments: str, **environment: str) -> ProcessHandle:
    """Start `python -m ARGUMENTS` with its log and its spool in a directory."""
    output = directory / f"{time.monotonic_ns()}-{arguments[-1][:20].replace('/', '_')}.log"
    return await spawn(output, "-m", *arguments, environment=environment)


async def spawn(
    output: Path,
    *arguments: str,
    environment: Mapping[str, str],
    has_pipes: bool = False,
    standard_output: int | None = None,
    python: str = sys.executable,
    folder: Path = ROOT,
) -> ProcessHandle:
    """Start a Python in a folder with `arguments` and its log in `output`; `has_pipes` for standard input and output.

    With a `standard_output` (a file descriptor) the log goes there, and only standard error to `output`. A module
    without any of this is forked, where that is possible (tests.harness.fork_server).

    It inherits no setting of this process, and has a session of its own, which a signal to all of us does not reach.
    """
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    defaults = {"ROUTER_SPOOL_DIR": str(output.parent / "spool"), "ROUTER_CONFIG_DIR": str(SHIPPED)}
    variables = inherited | defaults | environment
    is_plain = arguments[0] == "-m" and not has_pipes and standard_output is None and folder == ROOT
    pipe = asyncio.subprocess.PIPE if has_pipes else None
    with output.open("ab") as sink:
        if is_plain and can_fork(environment):
            forked = await fork_process(*arguments[1:], environment=variables, output=sink, error=sink)
            return ProcessHandle(forked, output)
        process = await asyncio.create_subprocess_exec(
            python,
            *arguments,
            cwd=folder,
            env=variables,
            stdin=pipe or asyncio.subprocess.DEVNULL,
            stdout=pipe or (sink if standard_output is None else standard_output),
            stderr=sink,
            start_new_session=True,
        )
    return ProcessHandle(process, output)
