"""A receiver as a real process, for tests that attack it: its readiness, its memory, its log."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from router.streams.client.embedded import free_port
from tests.harness.settings import make_environment
from tests.receiver.samples import PRIVATE, opened_by, signed, sms
from tests.support.accounts import TOKEN
from tests.support.raw_http import framed, on_wire
from tests.support.source import ROOT
from tests.support.waiting import scaled, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: The statuses with which a receiver may answer any request.
CONTRACT = frozenset({200, 400, 403, 404, 405, 413, 415, 417, 503})
READY = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Attacked:
    """A running receiver."""

    port: int
    pid: int
    output: Path

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its log lines; each one is a JSON object."""
        return [orjson.loads(line) for line in self.output.read_bytes().splitlines()]

    @property
    def memory(self) -> int:
        """Its resident memory in bytes."""
        shown = subprocess.run(["ps", "-o", "rss=", "-p", str(self.pid)], check=True, capture_output=True, text=True)
        return int(shown.stdout) * 1024

    async def is_ready(self) -> bool:
        """Tell whether `/readyz` answers 200 on a new connection."""
        async with on_wire(self.port) as wire:
            await wire.send(READY)
            answer = await wire.answer()
            return answer is not None and answer.status == 200

    async def accepts(self, number: int) -> bool:
        """Tell whether it accepts a genuine webhook on a new connection."""
        request = signed(sms(number))
        async with on_wire(self.port) as wire:
            length = f"Content-Length: {len(request.body)}"
            await wire.send(framed(request.path.encode(), request.body, request.headers(), length))
            answer = await wire.answer()
            return answer is not None and answer.status == 200


@contextmanager
def attacked(directory: Path, redis_url: str, *, private: tuple[str, ...] = PRIVATE) -> Iterator[Attacked]:
    """Run a receiver while the block runs; it must start once, end cleanly, and log nothing `private`."""
    port = free_port()
    folders = {"PATH": os.environ["PATH"], "ROUTER_SPOOL_DIR": str(directory / "spool")}
    environment = make_environment(redis_url, "http://127.0.0.1:9", **folders, **opened_by(TOKEN))
    command = [sys.executable, "-m", "router", "receive", "--port", str(port)]
    output = directory / f"attacked-{port}.log"
    with output.open("wb") as sink:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=sink, stderr=sink)
    receiver = Attacked(port, process.pid, output)
    try:
        asyncio.run(until(lambda: b"process.started" in output.read_bytes() or process.poll() is not None))
        yield receiver
        process.terminate()
        assert process.wait(timeout=scaled(30)) == 0, output.read_text()
    finally:
        process.kill()
        process.wait(timeout=scaled(30))
    assert sum(line["event"] == "process.started" for line in receiver.lines) == 1
    assert [line for line in receiver.lines if line["event"] == "library" or line["level"] == "error"] == []
    shown = [line for line in output.read_text().splitlines() if any(secret in line for secret in private)]
    assert shown == [], "the log shows private data"
