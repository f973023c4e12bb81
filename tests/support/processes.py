"""Real processes of the project: started with an environment of their own, watched by their log lines."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]


class RunningProcess:
    """`python -m MODULE ...`; its output goes to a file, one JSON object a line."""

    def __init__(self, process: asyncio.subprocess.Process, output: Path) -> None:
        self.process, self.output = process, output

    @classmethod
    async def start(cls, directory: Path, *arguments: str, **environment: str) -> RunningProcess:
        """Start it with nothing of this process' settings but the path to programs."""
        output = directory / f"{time.monotonic_ns()}.log"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        inherited["ROUTER_SPOOL_DIR"] = str(directory / "spool")
        with output.open("wb") as sink:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *arguments,
                cwd=ROOT,
                env=inherited | environment,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        return cls(process, output)

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
        """Wait until it (or so many of its children) says that it is up."""
        await until(lambda: len(self.find("process.started")) >= times or self.process.returncode is not None, 30)
        assert self.process.returncode is None, self.text
        return self.find("process.started")

    async def end(self, number: int = signal.SIGTERM, *, limit: float = 30.0) -> int:
        """Send it a signal and return its exit status."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        async with asyncio.timeout(limit):
            return await self.process.wait()

    async def kill(self) -> None:
        """End it and all its children, whatever state they are in."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
