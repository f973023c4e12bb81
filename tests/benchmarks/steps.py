"""The steps (bytecodes) of the interpreter for a webhook, a new customer, a known one and a greeting, by function.

On a shared machine the times of one run are up to twice those of the next; the steps are the same everywhere, up to a
few. They are not the whole cost: C code within a step (HMAC, JSON, sockets) is not counted. `python -m
tests.benchmarks.steps` runs receiver, worker and AI agent in this process, one after the other, traced: about a
minute. A traced consumer takes seconds for what takes it milliseconds, so it has more patience with its lanes than it
has otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from handlers.app import consuming, load_settings
from router import logs
from router.core.keys import Keys, Target
from router.process.loop import run
from router.receiver.app import LANE, bypass_routing, create_app
from router.receiver.connections import connection_factory
from router.settings.load import load
from router.streams.consuming import admission
from router.worker.app import working
from tests.benchmarks import webhooks
from tests.benchmarks.agents import prepare_entries
from tests.benchmarks.customers import start_api
from tests.benchmarks.filled_stream import Stream
from tests.benchmarks.handwritten_agent import TEXT
from tests.benchmarks.processes import running_processes, settings_of
from tests.benchmarks.report import table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType

    from router.streams.client.connection import Redis

#: Callers of the receiver, each with one request at a time.
CALLERS: Final = 32
_PACKAGES: Final = "site-packages"


class Steps:
    """Counts the steps of all functions while `counting`."""

    def __init__(self) -> None:
        self.taken: Counter[CodeType] = Counter()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count in the block, in this thread."""
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _argument: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self.taken[frame.f_code] += event == "opcode"
        return self._trace

    def rows(self, events: int, most: int) -> list[tuple[str, str]]:
        """Return the steps per event: all, by package, and of the functions with the most."""
        functions: Counter[str] = Counter()
        packages: Counter[str] = Counter()
        for code, steps in self.taken.items():
            path = Path(code.co_filename)
            if path == Path(__file__):
                continue
            functions[f"{code.co_qualname} ({path.name})"] += steps
            packages[_package_of(path)] += steps
        shown = [("all", functions.total()), *packages.most_common(6), *functions.most_common(most)]
        return [(name, f"{steps / events:,.0f}") for name, steps in shown]


def _package_of(path: Path) -> str:
    parts = path.parts
    if _PACKAGES in parts:
        return f"[{parts[parts.index(_PACKAGES) + 1]}]"
    return "[router]" if "router" in parts else "[Python's own]"


class _Caller(asyncio.Transport):
    """A connection without a socket, which counts responses."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = 0

    def write(self, data: Any) -> None:
        assert bytes(data).startswith(b"HTTP/1.1 200"), data
        self.answers += 1

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def count_webhooks(redis_url: str, spool: Path, count: int) -> Steps:
    """Let the receiver process `count` webhooks, CALLERS at once."""
    settings = load(environment=settings_of(redis_url) | {"ROUTER_SPOOL_DIR": str(spool)})
    runner = web.AppRunner(create_app(settings), access_log=None, handle_signals=False)
    await runner.setup()
    assert runner.server is not None
    runner.server.request_handler = bypass_routing(runner.app, runner.server.request_handler)
    make = connection_factory(runner.server, asyncio.get_running_loop(), CALLERS, runner.app[LANE])
    callers = [(make(), _Caller()) for _ in range(CALLERS)]
    for connection, caller in callers:
        connection.connection_made(caller)
    requests = list(webhooks.requests(time.time_ns() >> 12, count + CALLERS, webhooks.Senders(CALLERS)))

    async def ask(first: int) -> None:
        for (connection, _), request in zip(callers, requests[first : first + CALLERS], strict=False):
            connection.data_received(request)
        while sum(caller.answers for _, caller in callers) < first + CALLERS:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0)

    await ask(0)  # work that is done only once
    steps = Steps()
    with steps.counting():
        for first in range(CALLERS, count + CALLERS, CALLERS):
            await ask(first)
    await runner.cleanup()
    return steps


async def count_events(redis: Redis, environment: dict[str, str], count: int) -> tuple[Steps, Steps]:
    """Let the worker process the first messages of `count` customers, and then one more of each."""
    stream, new, known = Stream.inbound(redis, Keys()), Steps(), Steps()
    await stream.create()
    admission.PATIENCE = 60.0  # type: ignore[misc]
    async with working(load(environment=environment)):

        async def work(senders: webhooks.Senders, steps: Steps) -> None:
            await stream.prepare(senders, senders.customers)
            with steps.counting():
                await stream.release()
                while await stream.acknowledged(senders.customers) < senders.customers:  # noqa: ASYNC110 - there is no event
                    await asyncio.sleep(0.1)

        await work(webhooks.Senders(count, first=count), Steps())  # work that is done only once
        senders = webhooks.Senders(count)
        await work(senders, new)
        await work(senders, known)
    return new, known


async def count_greetings(redis: Redis, environment: dict[str, str], count: int) -> Steps:
    """Let the AI agent join the conversations of `count` customers and greet them."""
    keys, greeted = Keys(), Steps()
    stream = Stream(redis, keys.participants(0, Target.AI_AGENT), str(Target.AI_AGENT))
    await stream.create()
    async with consuming("ai_agent", load_settings(environment | {"ROUTER_AI_AGENT_GREETING": TEXT})):
        for first, steps in ((0, Steps()), (count, greeted)):  # the first does what is done only once
            await prepare_entries(stream, keys, first, count)
            with steps.counting():
                await stream.release()
                while await stream.acknowledged(count) < count:  # noqa: ASYNC110 - there is no event
                    await asyncio.sleep(0.1)
    return greeted


async def main(count: int, most: int) -> int:
    """Print the tables."""
    logs.setup(process="steps", stream=io.StringIO())
    async with running_processes() as (server, redis, processes):
        counted = {"a webhook": await count_webhooks(server.url, processes.directory / "spool", count)}
        await redis.flushdb()
        api = await start_api(processes, "api", 0.0)
        new, known = await count_events(redis, settings_of(server.url, api), count)
        counted |= {"a new customer's message": new, "a known customer's message": known}
        await redis.flushdb()
        api = await start_api(processes, "api-alone", 0.0, is_alone=True)
        counted["a greeting"] = await count_greetings(redis, settings_of(server.url, api), count)
    for name, steps in counted.items():
        rows = [(f"steps for {name}", "each"), *steps.rows(count, most)]
        print("\n".join(["", *table(rows)]))  # noqa: T201 - a tool talks to a person
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.steps", description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=CALLERS * 16, help="webhooks and customers (default: %(default)s)")
    parser.add_argument("--most", type=int, default=20, help="functions that are shown (default: %(default)s)")
    arguments = parser.parse_args()
    raise SystemExit(run(main(arguments.count, arguments.most)))
