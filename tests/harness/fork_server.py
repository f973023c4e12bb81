"""Processes of the project in a fraction of the time: a program that has imported it forks for each one.

`python -m tests.harness.fork_server PATH` listens on a Unix socket. Each connection asks for one process, with one line
of JSON {"module", "arguments", "environment"} and the file descriptors of its standard output and error. It is forked,
runs as `python -m` would, in a session of its own. The connection gets a line with its id, and {"status"} at its end.
When standard input ends, what is left is killed. A test run has one such program for each of its processes.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib
import json
import os
import pkgutil
import random
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tests.support.source import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The most bytes of a request: a line with an environment.
_MOST = 1 << 20
#: Descriptors above those of standard input, output and error that a new process closes.
_OPEN_FILES = range(3, 4096)
_PACKAGES = ("router", "handlers")
#: The variable that names the socket of another process' fork server.
FORK_SERVER = "FORK_SERVER"


class _Connection(socket.socket):
    """Closes itself without a warning: nobody has to wait for a process, which may be killed with its group."""

    def __del__(self) -> None:
        self.close()


class ForkedProcess:
    """A process that is no child of this one, with the interface of asyncio's own; it has no pipes."""

    stdin = stdout = None

    def __init__(self, pid: int, connection: _Connection) -> None:
        self.pid = pid
        self._status: int | None = None
        self._connection = connection
        self._waiting = asyncio.Lock()

    @property
    def returncode(self) -> int | None:
        """Its exit status (the negative number of the signal that killed it), None while it runs."""
        if self._status is None:
            try:
                answer = self._connection.recv(_MOST, socket.MSG_PEEK)  # not taken from whoever waits for it
            except BlockingIOError:
                return None
            self._status = json.loads(answer)["status"]
        return self._status

    def send_signal(self, number: int) -> None:
        """Send a signal; ProcessLookupError if it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError(self.pid)  # its id may be another process' by now
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once; ProcessLookupError if it has ended."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Return its exit status once it has ended; the status stays there if this is canceled."""
        loop = asyncio.get_running_loop()
        async with self._waiting:
            while (status := self.returncode) is None:
                ended = asyncio.Event()
                loop.add_reader(self._connection, ended.set)
                try:
                    await ended.wait()
                finally:
                    loop.remove_reader(self._connection)
        return status


async def fork_process(
    module: str, *arguments: str, environment: Mapping[str, str], output: IO[Any], error: IO[Any]
) -> ForkedProcess:
    """Start `python -m MODULE ARGUMENTS` with this environment and no other variable, and nothing to read."""
    path = await asyncio.to_thread(find_fork_server)
    request = json.dumps({"module": module, "arguments": arguments, "environment": dict(environment)})
    connection = _Connection(socket.AF_UNIX)
    connection.connect(path)
    socket.send_fds(connection, [request.encode() + b"\n"], [output.fileno(), error.fileno()])
    connection.setblocking(False)
    pid = b""
    while not pid.endswith(b"\n"):  # byte by byte: the status may have come too
        pid += await asyncio.get_running_loop().sock_recv(connection, 1)
    return ForkedProcess(int(pid), connection)


def can_fork(environment: Mapping[str, str]) -> bool:
    """Return whether a process is forked: in the suite, unless a variable is for Python itself, which reads it once."""
    return "_pytest" in sys.modules and not any(name.startswith("PYTHON") for name in environment)


def find_fork_server() -> str:
    """Return the path of the fork server's socket; starts the program if this is the first that this process needs."""
    return os.environ.get(FORK_SERVER) or _Server.find()


class _Server:
    """The program that forks for this process: started with the first process, ended with this one."""

    _lock = threading.Lock()
    _path: str | None = None

    @classmethod
    def find(cls) -> str:
        with cls._lock:
            if cls._path is None:
                folder = tempfile.TemporaryDirectory(prefix="forks-")
                path = str(Path(folder.name) / "socket")
                program = subprocess.Popen(
                    [sys.executable, "-m", __name__, path],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    start_new_session=True,  # a signal to all of us must not end it before its children
                )
                assert program.stdout.readline(), "the fork server did not start"
                atexit.register(cls._end, program, folder)
                cls._path = path
            return cls._path

    @staticmethod
    def _end(program: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
        program.stdin.close()
        program.wait()
        program.stdout.close()
        folder.cleanup()


def _import_all() -> None:
    """Import every module of the project before the first fork, except those that run when they are imported."""
    for name in _PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            importlib.import_module(module.name)


def _serve(path: str) -> None:
    """Fork for each connection; it has one thread, so that it may fork."""
    _import_all()
    wakeup, noted = socket.socketpair()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(128)
    for one in (wakeup, noted, listening):
        one.setblocking(False)
    signal.set_wakeup_fd(noted.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    for one in (wakeup, listening, sys.stdin):
        selector.register(one, selectors.EVENT_READ)
    living: dict[int, socket.socket] = {}
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        ready = {key.fd for key, _ in selector.select()}
        if wakeup.fileno() in ready:
            wakeup.recv(4096)
            _report_ended(living)
        if listening.fileno() in ready:
            connection, _ = listening.accept()
            connection.setblocking(True)
            if (pid := _fork(connection)) is not None:
                living[pid] = connection
        if 0 in ready and not os.read(0, 1):
            break
    for pid in living:
        os.killpg(pid, signal.SIGKILL)


def _report_ended(living: dict[int, socket.socket]) -> None:
    while living:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with living.pop(pid) as connection:
            _report(connection, json.dumps({"status": os.waitstatus_to_exitcode(status)}))


def _report(connection: socket.socket, text: str) -> None:
    try:
        connection.sendall(text.encode())
    except OSError:  # nobody waits for it any more
        return


def _fork(connection: socket.socket) -> int | None:
    """Fork for a request, and return the id of the process; None if whoever asked was killed before it had asked."""
    text, descriptors, _, _ = socket.recv_fds(connection, _MOST, 2)
    while not text.endswith(b"\n"):
        if not (more := connection.recv(_MOST)):
            connection.close()
            for one in descriptors:
                os.close(one)
            return None
        text += more
    if pid := os.fork():
        for one in descriptors:
            os.close(one)
        return pid
    os.setsid()
    _report(connection, f"{os.getpid()}\n")  # not before: a signal to its session would reach nobody
    status = 1
    try:
        status = _run(json.loads(text), descriptors)
    except BaseException:  # noqa: BLE001 - as Python itself: print it, and end with 1
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _run(request: dict[str, Any], descriptors: list[int]) -> int:
    """Be the process: all that is left of the parent is what it had imported."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in enumerate((nothing, *descriptors)):
        os.dup2(source, target)
    os.closerange(_OPEN_FILES.start, _OPEN_FILES.stop)
    os.environ.clear()
    os.environ.update(request["environment"])
    random.seed()
    module, arguments = request["module"], request["arguments"]
    sys.argv = [module, *arguments]
    try:
        if module in _PACKAGES:
            return sys.modules[f"{module}.__main__"].main(arguments)
        runpy.run_module(module, run_name="__main__")
    except SystemExit as end:  # of argparse, which has printed what there is to say
        return end.code or 0
    return 0


if __name__ == "__main__":
    _serve(sys.argv[1])
