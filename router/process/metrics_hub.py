"""One exposition of the metrics for all processes that share a port: whichever is scraped shows the sums of all.

Each process has a socket to the supervisor that started it. The process that is scraped asks the supervisor, which asks
all others for their values and answers with the sums (router.process.metrics_total). What the supervisor has been told
survives the process that told it. A process that does not answer in time counts with its last known values.

    process ─► supervisor   {"scrape": N, "samples": …}    send the sums; these are my values
    supervisor ─► process   {"ask": N}                     send your values
    process ─► supervisor   {"answer": N, "samples": …}    here they are; N is 0 unasked: when it is up, when it ends
    supervisor ─► process   {"total": N, "samples": …}     here are the sums

A message is JSON, after its length as four bytes. Nobody but these processes can connect.
"""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

from router import metrics
from router.metrics import MetricSample
from router.process.metrics_total import MetricsTotal
from router.tasks import end, finish

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

#: Seconds that a process has to send its values.
PATIENCE: Final = 2.0
#: Seconds that the supervisor has to send the sums, for which it may wait PATIENCE for a process.
PATIENCE_WITH_HUB: Final = 3 * PATIENCE
#: Seconds for the last values of a process that ends.
CLOSING: Final = 0.5
_LENGTH: Final = 4


class _Link:
    """One end of a socket, for messages as the top of this module describes them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        #: Whether the other end has let a question time out, and sent nothing since. It is asked nothing meanwhile.
        self.is_late = False
        self._number = 0
        self._expected: dict[int, asyncio.Future[list[MetricSample] | None]] = {}

    @classmethod
    async def open(cls, end: socket.socket) -> Self:
        """Take over a connected socket."""
        end.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, **message: Any) -> None:
        """Send a message, unless the other end is gone; it waits in memory if it must."""
        if not self._writer.is_closing():
            text = json.dumps(message, separators=(",", ":")).encode()
            self._writer.write(len(text).to_bytes(_LENGTH, "big") + text)

    async def receive(self) -> dict[str, Any]:
        """Return the next message; raises EOFError or OSError at the end."""
        length = int.from_bytes(await self._reader.readexactly(_LENGTH), "big")
        message: dict[str, Any] = json.loads(await self._reader.readexactly(length))
        self.is_late = False
        return message

    def question(self, kind: str, **values: Any) -> asyncio.Future[list[MetricSample] | None]:
        """Send a numbered question; the future is done once it is answered, or (None) the other end is gone."""
        self._number += 1
        self._expected[self._number] = future = asyncio.get_running_loop().create_future()
        self.send(**{kind: self._number}, **values)
        return future

    def answered(self, number: int, samples: list[MetricSample] | None) -> None:
        """Pass on the answer to a question."""
        future = self._expected.pop(number, None)
        if future is not None and not future.done():
            future.set_result(samples)

    def abort(self) -> None:
        """Close at once."""
        self._writer.transport.abort()
        for number in tuple(self._expected):
            self.answered(number, None)

    async def close(self) -> None:
        """Send what waits, then close."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


class MetricsHub:
    """The supervisor's part; a context manager, in which the supervisor runs."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._total = MetricsTotal()
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Return itself; each process is given a socket by `connect`."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all sockets."""
        await end(*self._tasks)

    def connect(self, name: str) -> socket.socket:
        """Return the socket for a process that is about to start; one that takes another's place has its `name`."""
        ours, theirs = socket.socketpair()
        self._run(self._serve(name, ours), name=f"metrics of {name}")
        return theirs

    def _run(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, name: str, ours: socket.socket) -> None:
        link = await _Link.open(ours)
        self._links.add(link)
        try:
            with suppress(EOFError, OSError):
                while True:
                    message = await link.receive()
                    samples = _samples_of(message)
                    self._total.update(link, name, samples)
                    if "scrape" in message:
                        self._run(self._answer(link, message["scrape"]), name=f"scrape of {name}")
                    else:
                        link.answered(message["answer"], samples)
        finally:
            self._links.remove(link)
            self._total.end(link)
            link.abort()

    async def _answer(self, asking: _Link, number: int) -> None:
        """Ask all other processes that are up, and send the sums."""
        others = [link for link in self._links if link is not asking and self._total.knows(link)]
        asked = {link.question("ask"): link for link in others if not link.is_late}
        late: set[asyncio.Future[list[MetricSample] | None]] = set()
        if asked:
            _, late = await asyncio.wait(asked, timeout=PATIENCE)
        for future in late:
            asked[future].is_late = True
        up = [link for link in others if link in self._links]
        silent = sum(link.is_late for link in up)
        metrics.gauge("router_port_processes", "answered", value=1 + len(up) - silent)
        metrics.gauge("router_port_processes", "silent", value=silent)
        self._total.update(self, self._name, metrics.samples())
        asking.send(total=number, samples=self._total.samples())


class MetricsLink:
    """The part of a process that shares its port; `refresh` sets its own gauges (router.metrics.OWN_GAUGES)."""

    def __init__(self, link: _Link, refresh: Callable[[], None]) -> None:
        self._link = link
        self._refresh = refresh
        self._send_values(0)
        self._serving = asyncio.create_task(self._serve(), name="metrics")

    @classmethod
    async def open(cls, descriptor: int, refresh: Callable[[], None]) -> Self:
        """Take over the socket that the supervisor passed to this process, and tell it that this process is up."""
        ours = socket.socket(fileno=descriptor)
        ours.set_inheritable(False)
        return cls(await _Link.open(ours), refresh)

    async def collect(self) -> list[MetricSample]:
        """Return the sums over all processes of the port; raises OSError if the supervisor is silent or gone."""
        total = None
        if not self._serving.done():
            self._refresh()
            async with asyncio.timeout(PATIENCE_WITH_HUB):
                total = await self._link.question("scrape", samples=metrics.samples())
        if total is None:
            raise ConnectionError("the supervisor is gone")
        return total

    async def close(self) -> None:
        """Send the last values, and close."""
        await end(self._serving)
        self._send_values(0)
        await finish(self._link.close(), CLOSING)

    async def _serve(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                message = await self._link.receive()
                if "ask" in message:
                    self._send_values(message["ask"])
                else:
                    self._link.answered(message["total"], _samples_of(message))
        self._link.abort()

    def _send_values(self, number: int) -> None:
        self._refresh()
        self._link.send(answer=number, samples=metrics.samples())


def _samples_of(message: dict[str, Any]) -> list[MetricSample]:
    return [
        MetricSample(family, name, tuple((label, text) for label, text in labels), value, is_cumulative)
        for family, name, labels, value, is_cumulative in message["samples"]
    ]
