"""The files of the router that one event passes in the worker: an inbound SMS of a new customer.

Prints each file in the order in which its functions are called, how often the way crosses a folder, and how often it
returns from a rule (core, inbound) to the worker. `python -m tests.benchmarks.path` takes a few seconds;
docs/development.md shows what it printed before and after the rules moved into the core.
"""

from __future__ import annotations

import asyncio
import io
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from router import logs
from router.core.keys import Keys
from router.process.loop import run
from router.settings.load import load
from router.worker.app import working
from tests.benchmarks import webhooks
from tests.benchmarks.customers import start_api
from tests.benchmarks.filled_stream import Stream
from tests.benchmarks.processes import running_processes, settings_of

if TYPE_CHECKING:
    from types import FrameType

ROOT: Final = Path(__file__).resolve().parents[2] / "router"
#: Rooms whose files count: reading streams, logs and metrics are the same for every event.
ROOMS: Final = ("inbound", "core", "worker", "conversations", "streams/store")
#: Files that hold a value or a name, and what runs beside an event.
LEFT_OUT: Final = ("errors.py", "values.py", "keys.py", "app.py", "limiter.py", "trim.py", "watch.py", "inspect.py")
#: Messages before the one that is traced, so that nothing is done for the first time.
WARM_UP: Final = 64


class FilesPassed:
    """The files that calls lead to, one after the other."""

    def __init__(self) -> None:
        self.files: list[str] = []

    def trace(self, frame: FrameType, event: str, _: Any) -> None:
        """Note where a function is called; for `sys.setprofile`."""
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(f"{ROOT}/") or code.co_name.startswith("<"):
            return
        name = code.co_filename.removeprefix(f"{ROOT}/")
        if name.startswith(ROOMS) and not name.endswith(LEFT_OUT) and self.files[-1:] != [name]:
            self.files.append(name)

    @property
    def borders(self) -> int:
        """How often the next file is in another folder."""
        folders = [name.rpartition("/")[0] for name in self.files]
        return sum(one != other for one, other in pairwise(folders))

    @property
    def returns(self) -> int:
        """How often the way leads from a rule back to the worker."""
        rules = ("core", "inbound")
        return sum(one.startswith(rules) and other.startswith("worker") for one, other in pairwise(self.files))


async def main() -> int:
    """Print the files."""
    logs.setup(process="path", stream=io.StringIO())
    path = FilesPassed()
    async with running_processes() as (server, redis, processes):
        api = await start_api(processes, "api", 0.0)
        stream = Stream.inbound(redis, Keys())
        await stream.create()
        environment = settings_of(server.url, api) | {"ROUTER_RECONCILE_CALLS": "0"}
        async with working(load(environment=environment)):
            await _work(stream, WARM_UP)
            await stream.prepare(webhooks.Senders(1), 1)
            sys.setprofile(path.trace)
            await _finish(stream, 1)
            sys.setprofile(None)
    first = dict.fromkeys(path.files)
    print(f"{len(first)} files, {path.borders} folder borders, {path.returns} returns from a rule to the worker")  # noqa: T201
    print(*first, sep="\n")  # noqa: T201 - a tool talks to a person
    return 0


async def _work(stream: Stream, count: int) -> None:
    await stream.prepare(webhooks.Senders(count, first=count), count)
    await _finish(stream, count)


async def _finish(stream: Stream, count: int) -> None:
    await stream.release()
    while await stream.acknowledged(count) < count:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    raise SystemExit(run(main()))
