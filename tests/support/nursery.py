"""Real processes in a fraction of the time: a program that has imported the project and forks for each one.

`python -m tests.support.nursery` reads one JSON object a line, {"arguments", "environment", "output"}, and becomes the
parent of a process that runs those arguments as `python -m` would: a session, an environment and an output of its own.
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
import router.worker.app  # the roots are imported for what they import
from tests.support.processes import ROOT, RunningProcess
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

MAINS = {"router": router.__main__.main, "handlers": handlers.__main__.main}


class Nursery:
    """Starts processes; an async context manager, which leaves none behind."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: dict[int, Child] = {}
        self._asked: list[asyncio.Future[int]] = []
        self._number = 0

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

    async def start(self, *arguments: str, **environment: str) -> RunningProcess:
        """Start `python -m ARGUMENTS` with this environment and nothing of ours."""
        self._number += 1
        output = self._directory / f"{self._number}-{arguments[-1]}.log"
        output.touch()
        given = {"PATH": os.environ["PATH"], "ROUTER_SPOOL_DIR": str(self._directory / "spool")} | environment
        asked = {"arguments": arguments, "environment": given, "output": str(output)}
        self._asked.append(asyncio.get_running_loop().create_future())
        self._program.stdin.write(json.dumps(asked).encode() + b"\n")
        pid = await self._asked[-1]
        return RunningProcess(self._children[pid], output)

    async def _listen(self) -> None:
        waiting = iter(self._asked)
        while line := await self._program.stdout.readline():
            told = json.loads(line)
            if "status" in told:
                self._children[told["pid"]].returncode = told["status"]
            else:
                self._children[told["pid"]] = Child(told["pid"])
                next(waiting).set_result(told["pid"])


class Child:
    """What RunningProcess needs of a process that is not our own child."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def send_signal(self, number: int) -> None:
        if self.returncode is not None:
            raise ProcessLookupError(self.pid)  # it may be another's by now
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        await until(lambda: self.returncode is not None, timeout=60)
        return self.returncode


def _serve() -> None:
    """Fork for whoever asks on standard input, tell on standard output; it has one thread, so that it may fork."""
    wakeup, told = socket.socketpair()
    for end in (wakeup, told):
        end.setblocking(False)
    signal.set_wakeup_fd(told.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(wakeup, selectors.EVENT_READ)
    selector.register(0, selectors.EVENT_READ)
    living, read = set(), b""
    while True:
        ready = {key.fd for key, _ in selector.select()}
        if wakeup.fileno() in ready:
            wakeup.recv(4096)
            _bury(living)
        if 0 in ready:
            if not (more := os.read(0, 65536)):
                break
            *asked, read = (read + more).split(b"\n")
            for line in asked:
                pid = _bear(json.loads(line))
                living.add(pid)
                _tell(pid=pid)
    for pid in living:
        os.killpg(pid, signal.SIGKILL)


def _bury(living: set[int]) -> None:
    while living:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        living.discard(pid)
        _tell(pid=pid, status=os.waitstatus_to_exitcode(status))


def _tell(**what: int) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def _bear(asked: dict[str, Any]) -> int:
    if pid := os.fork():
        return pid
    status = 1
    try:
        status = _live(asked)
    except BaseException:  # noqa: BLE001 - the end of a process: Python would print it, and end with 1
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _live(asked: dict[str, Any]) -> int:
    """Be the process: nothing of the parent is left but what it had imported."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output = os.open(asked["output"], os.O_WRONLY | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.closerange(3, 256)
    os.environ.clear()
    os.environ.update(asked["environment"])
    random.seed()
    module, *arguments = asked["arguments"]
    sys.argv = [module, *arguments]
    return MAINS[module](arguments)


if __name__ == "__main__":
    _serve()
