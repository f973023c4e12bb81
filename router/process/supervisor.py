"""Runs other processes, starts again what dies, and stops all of them in order.

Used by `receive --processes` and by `dev`; in production the Procfile's platform does this.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import IO, TYPE_CHECKING, Final, Self

from router.logs import log
from router.settings.environment import SUPERVISOR, own_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

#: A process that dies so often within QUICK seconds of its start will not get better by itself.
QUICK_DEATHS: Final = 3
QUICK: Final = 5.0


class Supervisor:
    """An async context manager; leaving it sends SIGTERM to all, in reverse order of their start, then SIGKILL.

    `grace` (seconds) is how long each may take; without `is_ordered` all are told at once and share it. Their output
    goes to ours, or to `<name>.log` in `log_dir`.
    """

    def __init__(self, *, grace: float, log_dir: Path | None = None, is_ordered: bool = True) -> None:
        self._grace = grace
        self._is_ordered = is_ordered
        self._log_dir = log_dir
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._failed: asyncio.Event = asyncio.Event()
        self.failure = ""

    async def __aenter__(self) -> Self:
        """Nothing to do before the first start."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop all."""
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
        """Start a process that shall run as long as we do; `environment` is its whole environment, ours if None."""
        process = await self._spawn(name, command, environment)
        self._watchers.append(asyncio.create_task(self._watch(name, command, environment), name=f"watch {name}"))
        return process

    async def failed(self) -> None:
        """Return once a process cannot be kept running; `failure` says which."""
        await self._failed.wait()

    async def _spawn(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None
    ) -> asyncio.subprocess.Process:
        # A session of its own: Ctrl-C reaches us first, and we stop them in order.
        output = self._output(name)
        told = {**(own_environment() if environment is None else environment), SUPERVISOR: str(os.getpid())}
        spawning = asyncio.ensure_future(
            asyncio.create_subprocess_exec(*command, env=told, stdout=output, stderr=output, start_new_session=True)
        )
        try:
            self._running[name] = await asyncio.shield(spawning)
        except asyncio.CancelledError:
            self._running[name] = await spawning  # it is there all the same, and must be ended with the others
            raise
        finally:
            if output is not None:
                output.close()  # the process has its own by now
        return self._running[name]

    def _output(self, name: str) -> IO[bytes] | None:
        return None if self._log_dir is None else (self._log_dir / f"{name}.log").open("ab")

    async def _watch(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None) -> None:
        quick = 0
        while True:
            begun = time.monotonic()
            status = await self._running[name].wait()
            quick = quick + 1 if time.monotonic() - begun < QUICK else 0
            if quick >= QUICK_DEATHS:
                self.failure = f"{name} ended {quick} times right after its start, the last time with status {status}"
                self._failed.set()
                return
            log("process.restarted", level="warning", name=name, status=status)
            await asyncio.sleep(0.2)
            await self._spawn(name, command, environment)

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
