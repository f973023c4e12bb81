"""Processes of a measurement: started on a core of their own, watched, and ended one by one by their id.

Whatever ends the run (the last turn, an error, Ctrl-C) leaves the block of `Processes`, and that ends all of them. On
two cores the measured process has one to itself and the generator shares the other with the Redis server. Where
several processes are measured together, nobody has a core: all share the first two, as they would on a small machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from router.streams.client.connection import Redis, connect
from router.streams.client.embedded import EmbeddedServer, start_embedded
from tests.benchmarks.frame import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

#: Seconds within which a process must be up, and may take to end.
PATIENCE: Final = 60.0
GRACE: Final = 10.0
#: The measured process, the generator with this process, and the Redis server: each a place in the list of cores.
MEASURED, GENERATOR, REDIS = range(3)
#: The place of whoever shares the first two cores with others.
SHARED: Final = -1
ROOT: Final = Path(__file__).resolve().parents[2]
_CORES: Final = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
_OURS: Final = ("ROUTER_", "TWILIO_")
_OURS_TOO: Final = frozenset({"REDIS_URL", "PUBLIC_BASE_URL", "PORT"})


def clean_environment(values: Mapping[str, str]) -> dict[str, str]:
    """Return this process' environment with `values` for settings: what happens to be set must not be measured."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(_OURS) and name not in _OURS_TOO}
    return others | dict(values)


def shared_cores() -> int:
    """Return how many cores those have who share them."""
    return len(_CORES[:2])


def pin(pid: int, place: int | None) -> None:
    """Keep a process and its threads on one core, where the system can and there is more than one; None: on any.

    A child has the cores of its parent at first, and this program keeps to the generator's.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    if len(_CORES) == 1:
        return
    cores = _CORES
    if place is not None:
        cores = _CORES[:2] if place == SHARED else [_CORES[min(place, len(_CORES) - 1)]]
    tasks = Path(f"/proc/{pid}/task")
    for task in [int(one.name) for one in tasks.iterdir()] if tasks.is_dir() else [pid]:
        with contextlib.suppress(ProcessLookupError):  # the thread has ended meanwhile
            os.sched_setaffinity(task, cores)


def cpu_seconds(*pids: int) -> float | None:
    """Return the CPU time that processes have used so far, with their threads and living children.

    None where /proc does not tell.
    """
    used = 0.0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            return None
        used += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        used += cpu_seconds(*_children(pid)) or 0.0
    return used


def _children(pid: int) -> list[int]:
    found: list[str] = []
    with contextlib.suppress(OSError):  # it has ended meanwhile, or the kernel has no such file
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += (task / "children").read_text(encoding="ascii").split()
    return [int(one) for one in found]


class Child:
    """A started process; its log is a file, as cheap to write as a platform's pipe."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def check(self) -> None:
        """Raise BenchmarkError, with the end of its log, if it has ended."""
        if self.process.returncode is not None:
            end = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise BenchmarkError(f"{self.name} ended with status {self.process.returncode}:\n{end}")

    async def ask(self, line: bytes) -> bytes:
        """Write a line to its standard input and return the line it answers with; for generators."""
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise BenchmarkError(f"{self.name} was started without pipes")
        stdin.write(line + b"\n")
        answer = await stdout.readline()
        if not answer:
            await self.process.wait()
            self.check()
        return answer

    async def end(self) -> None:
        """Ask it to end, then make it."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            async with asyncio.timeout(GRACE):
                await self.process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(ConnectionError):  # nobody reads any more
                await self.process.stdin.wait_closed()


class Processes:
    """An async context manager; leaving it ends all processes that it has started."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: list[Child] = []

    async def __aenter__(self) -> Self:
        """Nothing to do before the first start."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all at once: a server that waits for its callers sees them go."""
        await asyncio.gather(*[child.end() for child in self._children])

    async def start(
        self,
        name: str,
        *arguments: str,
        environment: Mapping[str, str],
        place: int | None = MEASURED,
        has_pipes: bool = False,
    ) -> Child:
        """Start this Python with `arguments`, in a session of its own: Ctrl-C reaches only us.

        Without a `place` it runs on whatever core is free.
        """
        log = self._directory / f"{name}.log"
        pipe = asyncio.subprocess.PIPE if has_pipes else None
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                cwd=ROOT,
                env=dict(environment),
                stdin=pipe or asyncio.subprocess.DEVNULL,
                stdout=pipe or output,
                stderr=output,
                start_new_session=True,
            )
        child = Child(name, process, log)
        self._children.append(child)
        pin(child.pid, place)
        return child

    async def end(self, child: Child) -> None:
        """End one of them before the others."""
        self._children.remove(child)
        await child.end()

    async def until(self, what: str, is_so: Callable[[], object], *, pause: float = 0.02) -> None:
        """Wait until `is_so()` (or what it returns, awaited) is true; raises BenchmarkError if that takes too long."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    answer = is_so()
                    if await answer if asyncio.iscoroutine(answer) else answer:
                        return
                    for child in self._children:
                        child.check()
                    await asyncio.sleep(pause)
        except TimeoutError as error:
            raise BenchmarkError(f"{what}: not within {PATIENCE:.0f} s") from error

    async def until_listening(self, child: Child, port: int) -> None:
        """Wait until somebody accepts connections on a loopback port."""

        async def is_listening() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.close()
            await writer.wait_closed()
            return True

        await self.until(f"{child.name} listens", is_listening)


@contextlib.asynccontextmanager
async def real_redis(directory: Path, place: int | None = REDIS) -> AsyncIterator[tuple[EmbeddedServer, Redis]]:
    """Run a real server with its append-only file in `directory`, and yield it with a client.

    The file is not rewritten meanwhile: that happens once in gigabytes, and would fall on one contender by chance.
    """
    starting = asyncio.create_task(start_embedded(directory))
    try:
        server = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await (await starting).stop()
        raise
    redis = connect(server.url, timeout=30)
    try:
        await redis.config_set("auto-aof-rewrite-percentage", "0")
        pin(server.process.pid, place)
        yield server, redis
    finally:
        await redis.aclose()
        await server.stop()
