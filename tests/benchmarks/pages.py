"""The console's pages: how long the first view of one takes, and what 200 open pages cost while customers write.

Known customers write at a light rate through one receiver and one worker, with no page open, and with 200 live pages
open that show every entry. All processes share the cores.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohttp

from router.console.roles import Role
from router.console.table import PAGES as TABLE
from router.streams.client.embedded import free_port
from tests.benchmarks.customers import start_api
from tests.benchmarks.frame import BenchmarkError, Column, Contender, Figure, Measurement, Sample, Scale
from tests.benchmarks.latency import LIGHT, LatencyBench, start_clock
from tests.benchmarks.processes import SHARED, Processes, cpu_seconds, running_processes, settings_of
from tests.console.people import PEOPLE, Visitor, users_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tests.benchmarks.processes import Child

OPEN: Final = 200
#: The pages that everybody reaches by one click, except the live tail, which is open anyway.
VIEWED: Final = tuple(page.path for page in TABLE if page.navigation and page.allows(Role.OPERATOR))
_FILES: Final = re.compile(r'(?:href|src)="(/static/[^"]+)"')


class _OpenPage(asyncio.Protocol):
    """The connection of a live page, which counts what it gets and throws it away: 200 browsers are on 200 machines."""

    def __init__(self) -> None:
        self.received = 0
        self.is_open = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Count the bytes; the first ones are the head of the answer."""
        if not self.is_open.done():
            self.is_open.set_result(data[:300])
        self.received += len(data)


@dataclass(frozen=True, slots=True)
class PagesBench:
    """A console beside the processes of a schedule; `cookie` is that of an operator's session."""

    clock: LatencyBench
    console: Child
    port: int
    cookie: str

    async def take_turn(self, seconds: float, pages: int) -> Sample:
        """Run a schedule with so many live pages open."""
        connections = [await self._open() for _ in range(pages)]
        before, begun = cpu_seconds(self.console.pid), time.monotonic()
        sample = await self.clock.take_turn(LIGHT, seconds)
        after, elapsed = cpu_seconds(self.console.pid), time.monotonic() - begun
        for transport, page in connections:
            if not page.received:
                raise BenchmarkError("a live page has got nothing")
            transport.close()
        if before is not None and after is not None:
            sample["console"] = (after - before) / elapsed * 100
        if {"receiver", "worker"} <= sample.keys():
            sample["router"] = sample["receiver"] + sample["worker"]
        return sample

    async def _open(self) -> tuple[asyncio.Transport, _OpenPage]:
        loop = asyncio.get_running_loop()
        transport, page = await loop.create_connection(_OpenPage, "127.0.0.1", self.port)
        head = f"GET /tail/events HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAccept: text/event-stream, text/html\r\n"
        transport.write(f"{head}Cookie: {self.cookie}\r\n\r\n".encode())
        answer = await page.is_open
        if not answer.startswith(b"HTTP/1.1 200"):
            raise BenchmarkError(f"a live page was refused: {answer.decode(errors='replace')}")
        return transport, page

    async def view(self, _: float) -> Sample:
        """Open each page once as a browser that knows none of its files; the slowest and the largest one count."""
        views = [await self._view(path) for path in VIEWED]
        return {"view_ms": max(view[0] for view in views), "view_kb": max(view[1] for view in views) / 1000}

    async def _view(self, path: str) -> tuple[float, int]:
        size, begun = 0, time.perf_counter()
        headers = {"Cookie": self.cookie, "Accept": "text/html"}
        async with aiohttp.ClientSession(
            f"http://127.0.0.1:{self.port}", headers=headers, auto_decompress=False
        ) as browser:

            async def fetch(url: str) -> bytes:
                async with browser.get(url, allow_redirects=False) as answer:
                    body = await answer.read()
                    if answer.status != 200:
                        raise BenchmarkError(f"{url} answers {answer.status}")
                    return body

            page = await fetch(path)
            files = await asyncio.gather(*map(fetch, dict.fromkeys(_FILES.findall(page.decode()))))
            size = len(page) + sum(map(len, files))
        return (time.perf_counter() - begun) * 1000, size


@asynccontextmanager
async def _bench(scale: Scale) -> AsyncIterator[PagesBench]:
    """Start everything, and have all customers announced."""
    async with running_processes(SHARED) as (server, redis, processes):
        api = await start_api(processes, "api", 0.0, place=SHARED)
        clock = await start_clock(processes, redis, server.url, api, scale.customers)
        port = free_port()
        console = await _start_console(processes, server.url, port)
        yield PagesBench(clock, console, port, await _sign_in(port))


@asynccontextmanager
async def opened(scale: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Yield the contenders of PAGES."""
    async with _bench(scale) as bench:
        yield [
            _contender("closed", "no page is open", bench, 0),
            _contender("open", f"{OPEN} live pages are open", bench, OPEN),
        ]


@asynccontextmanager
async def opened_views(scale: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Yield the contender of VIEWS."""
    async with _bench(scale) as bench:
        yield [Contender("view", "the slowest, and the largest", bench.view)]


async def _start_console(processes: Processes, redis_url: str, port: int) -> Child:
    users = processes.directory / "console-users.toml"
    await asyncio.to_thread(_write_users, users)
    environment = settings_of(redis_url) | {"ROUTER_CONSOLE_USERS": str(users), "ROUTER_CONSOLE_PORT": str(port)}
    console = await processes.start("console", "-m", "router", "console", environment=environment, place=SHARED)
    await processes.until_listening(console, port)
    return console


def _write_users(path: Path) -> None:
    path.touch(mode=0o600)  # the console reads no file that others may read
    path.write_text(users_text(), encoding="utf-8")


async def _sign_in(port: int) -> str:
    """Return the cookie of an operator's session."""
    visitor = Visitor(f"http://127.0.0.1:{port}")
    try:
        status = await visitor.sign_in(PEOPLE[Role.OPERATOR])
        if visitor.cookie is None:
            raise BenchmarkError(f"signing in was answered {status}")
        return f"{visitor.cookie.key}={visitor.cookie.value}"
    finally:
        await visitor.close()


def _contender(name: str, label: str, bench: PagesBench, pages: int) -> Contender:
    async def take_turn(seconds: float) -> Sample:
        return await bench.take_turn(seconds, pages)

    return Contender(name, label, take_turn)


PAGES: Final = Measurement(
    name="pages",
    title=f"The console: {OPEN} live pages at {LIGHT:g} events/s of known customers",
    columns=(
        Column("p50_ms", "p50 ms", 2),
        Column("p99_ms", "p99 ms", 2),
        Column("router", "receiver + worker busy %"),
        Column("console", "console busy %"),
    ),
    figures=(
        Figure("console", f"console with {OPEN} live pages, busy %", "console", "open", at_most=100),
        Figure("router", "CPU of receiver + worker, open / closed", "router", "open", "closed", at_most=1.1),
    ),
    opened=opened,
)
VIEWS: Final = Measurement(
    name="views",
    title="The console: the first view of each page of operations, with its files, by a browser that has none",
    columns=(Column("view_ms", "ms"), Column("view_kb", "kB", 1)),
    figures=(
        Figure("view_ms", "slowest first view of a page, ms", "view_ms", "view", at_most=200),
        Figure("view_kb", "largest first view of a page, kB", "view_kb", "view", at_most=100),
    ),
    opened=opened_views,
)
