"""Supervision of child processes: start them, restart those that die, stop all of them in order.

Used by `receive --processes` and by `dev`; in production the Procfile's platform supervises the processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self

from router.core.backoff import backoff
from router.logs import describe_fully, log
from router.settings.environment import SUPERVISOR, SUPERVISOR_SOCKET, own_environment

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

#: A process that dies so many times in a row, within so many seconds of its start, is not restarted again.
MAX_EARLY_DEATHS: Final = 3
EARLY: Final = 5.0
#: Seconds before a process that died is restarted, and at most between two attempts that fail.
RESTART_DELAY: Final = 0.2
LONGEST_DELAY: Final = 5.0
#: The folder that `router` is imported from.
_HOME: Final = Path(__file__).resolve().parents[2]


def python_command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs one of the project's modules with this Python, in the current folder.

    Unless that is the checkout itself, the current folder is not searched for modules (-P): a user's own `handlers` or
    `router` there is another program.
    """
    options = () if Path.cwd() == _HOME else ("-P",)
    return [sys.executable, *options, "-m", module, *arguments]


class Supervisor:
    """A context manager for child processes; leaving it stops them one by one, the last started first.

    Each gets SIGTERM and, after `grace` seconds, SIGKILL; without `is_ordered` all get SIGTERM at once and share the
    time. Their output goes to this process' output, or to `<name>.log` in `log_dir`.

    `connect` is given the name of a process at each of its starts and returns a socket for it, which is closed here.
    """

    def __init__(
        self,
        *,
        grace: float,
        log_dir: Path | None = None,
        is_ordered: bool = True,
        connect: Callable[[str], socket.socket] | None = None,
    ) -> None:
        self._grace = grace
        self._is_ordered = is_ordered
        self._log_dir = log_dir
        self._connect = connect
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._failed: asyncio.Event = asyncio.Event()
        self.failure = ""

    async def __aenter__(self) -> Self:
        """Return itself; processes are started one by one."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop all processes."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        if not self._is_ordered:
            await asyncio.gather(*(self._stop(process) for process in self._running.values()))
        for name in reversed(self._running):
            await self._stop(self._running[name])

    async def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> asyncio.subprocess.Process:
        """Start a process and keep it running; `environment` is its whole environment, None for this process' own."""
        process = await self._spawn(name, command, environment)
        self._watchers.append(asyncio.create_task(self._watch(name, command, environment), name=f"watch {name}"))
        return process

    async def failed(self) -> None:
        """Return once a process cannot be kept running; `failure` names it."""
        await self._failed.wait()

    async def _spawn(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None
    ) -> asyncio.subprocess.Process:
        # In a new session, so that Ctrl-C reaches only this process, which stops the others in order.
        with contextlib.ExitStack() as copies:  # the process has its own ones once it runs
            output = None if self._log_dir is None else copies.enter_context(_open_log(self._log_dir, name))
            env = {**(own_environment() if environment is None else environment), SUPERVISOR: str(os.getpid())}
            descriptors = []
            if self._connect is not None:
                descriptors.append(copies.enter_context(self._connect(name)).fileno())
                env[SUPERVISOR_SOCKET] = str(descriptors[0])
            spawning = asyncio.ensure_future(
                asyncio.create_subprocess_exec(
                    *command, env=env, stdout=output, stderr=output, pass_fds=descriptors, start_new_session=True
                )
            )
            try:
                self._running[name] = await asyncio.shield(spawning)
            except asyncio.CancelledError:
                self._running[name] = await spawning  # it runs all the same, and must be stopped with the others
                raise
        return self._running[name]

    async def _watch(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None) -> None:
        early = 0
        while True:
            started = time.monotonic()
            status = await self._running[name].wait()
            early = early + 1 if time.monotonic() - started < EARLY else 0
            if early >= MAX_EARLY_DEATHS:
                self.failure = f"{name} ended {early} times right after its start, the last time with status {status}"
                self._failed.set()
                return
            log("process.restarted", level="warning", name=name, status=status)
            await self._restart(name, command, environment)

    async def _restart(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None) -> None:
        """Start a process again; a machine that lacks memory, processes or disk for it may have some later."""
        failures, logged = 0, ""
        while True:
            await asyncio.sleep(backoff(RESTART_DELAY, failures, ceiling=LONGEST_DELAY))
            try:
                await self._spawn(name, command, environment)
            except OSError as error:
                failures, reason = failures + 1, describe_fully(error)
                if reason != logged:
                    log("restart.failed", level="error", name=name, reason=reason)
                logged = reason
            else:
                return

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self._grace):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _open_log(folder: Path, name: str) -> IO[bytes]:
    return (folder / f"{name}.log").open("ab")
