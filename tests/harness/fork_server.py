"""Processes of the project in a fraction of the time: a program that has imported it forks for each one.

`python -m tests.harness.fork_server` reads one JSON object a line, {"arguments", "environment", "output"}, and forks a
process that runs these arguments as `python -m` would, in a session and with an environment and an output of its own.
It answers {"pid"} for each, and {"pid", "status"} as each ends. When its input ends it kills what is left.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import selectors
import signal
import socket
import sys
import traceback
from typing import TYPE_CHECKING, Any, Self

import handlers.__main__
import handlers.app
import router.__main__
import router.receiver.serve
import router.worker.app  # with the composition roots everything is imported before the first fork
from tests.harness.processes import ProcessHandle
from tests.support.source import ROOT, SHIPPED

if TYPE_CHECKING:
    from pathlib import Path

MAINS = {"router": router.__main__.main, "handlers": handlers.__main__.main}


class ForkServer:
    """Starts processes, with their logs in `directory`; an async context manager, which leaves none behind."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: dict[int, ForkedProcess] = {}
        self._requests: list[asyncio.Future[int]] = []

    async def __aenter__(self) -> Self:
        self._program = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__,
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # a signal to all of us must not end it before its children
        )
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._program.stdin.close()
        await self._listening
        await self._program.wait()

    async def start(self, *arguments: str, **environment: str) -> ProcessHandle:
        """Start `python -m ARGUMENTS` with this environment and no other setting."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._requests.append(answer)
        output = self._directory / f"{len(self._requests)}-{arguments[-1]}.log"
        output.touch()
        given = {"PATH": os.environ["PATH"], "ROUTER_CONFIG_DIR": str(SHIPPED)} | environment
        given.setdefault("ROUTER_SPOOL_DIR", str(self._directory / "spool"))
        request = {"arguments": arguments, "environment": given, "output": str(output)}
        self._program.stdin.write(json.dumps(request).encode() + b"\n")
        return ProcessHandle(self._children[await answer], output)

    async def _listen(self) -> None:
        waiting = iter(self._requests)
        while line := await self._program.stdout.readline():
            answer = json.loads(line)
            if "status" in answer:
                self._children[answer["pid"]].end(answer["status"])
            else:
                self._children[answer["pid"]] = ForkedProcess(answer["pid"])
                next(waiting).set_result(answer["pid"])


class ForkedProcess:
    """A process that is no child of this one, with the interface of asyncio's own."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.Event()

    def end(self, status: int) -> None:
        """Note that it has ended."""
        self.returncode = status
        self._ended.set()

    def send_signal(self, number: int) -> None:
        if self.returncode is not None:
            raise ProcessLookupError(self.pid)  # its id may be another process' by now
        os.kill(self.pid, number)

    async def wait(self) -> int:
        await self._ended.wait()
        return self.returncode


def _serve() -> None:
    """Fork for each line of standard input, report on standard output; it has one thread, so that it may fork."""
    wakeup, noted = socket.socketpair()
    for end in (wakeup, noted):
        end.setblocking(False)
    signal.set_wakeup_fd(noted.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(wakeup, selectors.EVENT_READ)
    selector.register(0, selectors.EVENT_READ)
    living, read = set(), b""
    while True:
        ready = {key.fd for key, _ in selector.select()}
        if wakeup.fileno() in ready:
            wakeup.recv(4096)
            _report_ended(living)
        if 0 in ready:
            if not (more := os.read(0, 65536)):
                break
            *requests, read = (read + more).split(b"\n")
            for line in requests:
                pid = _fork(json.loads(line))
                living.add(pid)
                _report(pid=pid)
    for pid in living:
        os.killpg(pid, signal.SIGKILL)


def _report_ended(living: set[int]) -> None:
    while living:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        living.discard(pid)
        _report(pid=pid, status=os.waitstatus_to_exitcode(status))


def _report(**what: int) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def _fork(request: dict[str, Any]) -> int:
    if pid := os.fork():
        return pid
    status = 1
    try:
        status = _run(request)
    except BaseException:  # noqa: BLE001 - as Python itself: print it, and end with 1
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _run(request: dict[str, Any]) -> int:
    """Be the process: all that is left of the parent is what it had imported."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output = os.open(request["output"], os.O_WRONLY | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.closerange(3, 256)
    os.environ.clear()
    os.environ.update(request["environment"])
    random.seed()
    module, *arguments = request["arguments"]
    sys.argv = [module, *arguments]
    return MAINS[module](arguments)


if __name__ == "__main__":
    _serve()
