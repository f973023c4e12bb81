"""Processes of a measurement: started on a core of their own, watched, and ended one by one by their id.

Whatever ends the run (the last turn, an error, Ctrl-C) leaves the block of `Processes`, which ends all of them. On two
cores the measured process has one to itself and the generator shares the other with the Redis server. Where several
processes are measured together, none has a core of its own: all share the first two, as on a small machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from router.streams.client.connection import Redis, connect
from tests.benchmarks.frame import BenchmarkError
from tests.harness.processes import ProcessHandle, spawn
from tests.harness.redis_server import RedisServer
from tests.harness.settings import make_environment
from tests.support.waiting import scaled, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from tests.benchmarks.beside import Build

#: Seconds, scaled, within which a process must be up, and may take to end.
PATIENCE: Final = 60.0
GRACE: Final = 10.0
#: Places in the list of cores: the measured process, the generator with this process, and the Redis server.
MEASURED, GENERATOR, REDIS = range(3)
#: The place of processes that share the first two cores.
SHARED: Final = -1
_CORES: Final = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


def settings_of(redis_url: str, api_url: str = "http://127.0.0.1:9", namespace: str = "router") -> dict[str, str]:
    """Return the settings of a receiver or a worker, with which nothing but events causes requests of the API."""
    return make_environment(
        redis_url,
        api_url,
        ROUTER_NAMESPACE=namespace,
        ROUTER_ROUTE_TTL="3600",  # a cache hit is what is measured: no route may expire within the run
        ROUTER_RECONCILE_CALLS="0",
    )


def shared_cores() -> int:
    """Return the number of cores that SHARED processes have."""
    return len(_CORES[:2])


def pin(pid: int, place: int | None) -> None:
    """Keep a process and its threads on one core, if the system can and there is more than one; None: on any core.

    A child starts on the cores of its parent, and this program keeps to the generator's.
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
        with contextlib.suppress(ProcessLookupError):  # the thread has ended
            os.sched_setaffinity(task, cores)


def cpu_seconds(*pids: int) -> float | None:
    """Return the CPU seconds that processes have used so far, with their threads and living children.

    None if /proc does not have them.
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
    with contextlib.suppress(OSError):  # it has ended, or the kernel has no such file
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += (task / "children").read_text(encoding="ascii").split()
    return [int(one) for one in found]


class Child(ProcessHandle):
    """A started process with a name; its log is a file, as cheap to write as a platform's pipe."""

    def __init__(self, name: str, handle: ProcessHandle) -> None:
        super().__init__(handle.process, handle.output)
        self.name = name

    def check(self) -> None:
        """Raise BenchmarkError, with the end of its log, if it has ended."""
        if self.returncode is not None:
            raise BenchmarkError(f"{self.name} ended with status {self.returncode}:\n{self.text[-2000:]}")

    async def ask(self, line: bytes) -> bytes:
        """Write a line to its standard input and return the line that it answers; for generators."""
        self.process.stdin.write(line + b"\n")
        answer = await self.process.stdout.readline()
        if not answer:
            await self.process.wait()
            self.check()
        return answer

    async def end(self) -> None:
        """Ask it to end; kill it if it has not ended after GRACE."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            await self.stop(limit=GRACE)
        except TimeoutError:
            await self.kill()
        if self.process.stdin is not None:
            with contextlib.suppress(ConnectionError):  # the other end is closed
                await self.process.stdin.wait_closed()


class Processes:
    """An async context manager; leaving it ends all processes that it has started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
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
        environment: Mapping[str, str] | None = None,
        place: int | None = MEASURED,
        has_pipes: bool = False,
        build: Build | None = None,
    ) -> Child:
        """Start this Python, or the interpreter of a build, with `arguments`; without a `place` it runs on any core."""
        output, values = self.directory / f"{name}.log", environment or {}
        if build is None:
            handle = await spawn(output, *arguments, environment=values, has_pipes=has_pipes)
        else:
            if build.config is not None:
                values = {**values, "ROUTER_CONFIG_DIR": str(build.config)}
            handle = await spawn(output, *arguments, environment=values, python=build.interpreter, folder=build.folder)
        child = Child(name, handle)
        self._children.append(child)
        pin(child.pid, place)
        return child

    async def end(self, child: Child) -> None:
        """End one of them before the others."""
        self._children.remove(child)
        await child.end()

    async def until(self, what: str, is_so: Callable[[], object], *, pause: float = 0.02) -> None:
        """Wait until `is_so` (sync or async) is true; BenchmarkError if a process ends or it takes too long."""

        async def is_true() -> bool:
            answer = is_so()
            if inspect.isawaitable(answer):
                answer = await answer
            if not answer:
                for child in self._children:
                    child.check()
            return bool(answer)

        try:
            await until(is_true, PATIENCE, pause=pause)
        except TimeoutError as error:
            raise BenchmarkError(f"{what}: not within {scaled(PATIENCE):.0f} s") from error

    async def until_listening(self, child: Child, port: int) -> None:
        """Wait until a process accepts connections on a loopback port."""

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
async def running_redis(directory: Path, place: int | None = REDIS) -> AsyncIterator[tuple[RedisServer, Redis]]:
    """Run a server with its append-only file in `directory`, and yield it with a client.

    The file is not rewritten meanwhile: that happens once in gigabytes, and would hit one contender by chance.
    """
    server = RedisServer(directory, "auto-aof-rewrite-percentage 0", fsync="everysec")
    redis = connect(server.url, timeout=30)
    try:
        await server.start()
        pin(server.pid, place)
        yield server, redis
    finally:
        await redis.aclose()
        server.kill()


@contextlib.asynccontextmanager
async def running_processes(place: int | None = REDIS) -> AsyncIterator[tuple[RedisServer, Redis, Processes]]:
    """Run a server in a temporary directory, and yield it with a client and with what starts processes there."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        directory = Path(temporary)
        async with running_redis(directory, place) as (server, redis), Processes(directory) as processes:
            yield server, redis, processes
