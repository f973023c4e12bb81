"""A relay between a process and one of its servers, which stops the process exactly between two steps.

It reads every message that passes (tests.support.wire). A breakpoint names one of them and a side: BEFORE the message
reaches the server, or AFTER the server has answered and before the process gets the answer. There the relay sends the
process a signal. After SIGKILL the message goes no further; after SIGSTOP (or no signal) it is held until the
breakpoint is resumed. The project has no part in it: the process only connects to another port.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter, deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from yarl import URL

from tests.support import wire
from tests.support.waiting import scaled, until

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.wire import Message

#: More than the longest line of a message.
LIMIT = 2**20
_ENDINGS = (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError)


class Side(Enum):
    """A side of a step."""

    BEFORE = "before"
    AFTER = "after"


class Wire(NamedTuple):
    """Functions that read the messages of a protocol."""

    read_request: Callable[[StreamReader], Awaitable[Message]]
    read_reply: Callable[[StreamReader], Awaitable[bytes]]
    is_unasked: Callable[[bytes], bool] = lambda _: False
    is_answer: Callable[[str, bytes], bool] = lambda *_: True


REDIS = Wire(wire.read_command, wire.read_reply, wire.is_unasked, wire.is_answer)
HTTP = Wire(wire.read_request, wire.read_response)


@dataclass
class Breakpoint:
    """Is reached once, at the `number`-th step of this name, and sends `signal`, 0 for none."""

    step: str
    side: Side
    number: int = 1
    signal: int = signal.SIGKILL
    is_reached: bool = field(default=False, init=False)
    resumed: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def matches(self, name: str, side: Side) -> bool:
        """Count a step, and tell whether it is the place."""
        if self.is_reached or side is not self.side or name != self.step:
            return False
        self.number -= 1
        self.is_reached = self.number == 0
        return self.is_reached

    async def reached(self) -> None:
        """Return once it has been reached."""
        await until(lambda: self.is_reached)


class Relay:
    """Listens on `port` while it runs, in front of the server at `url`; `send_signal` reaches the process."""

    def __init__(self, url: str, kind: Wire) -> None:
        self.port = 0
        self.send_signal: Callable[[int], object] = lambda _: None
        self.breakpoint: Breakpoint | None = None
        #: If set, every request gets this answer and does not reach the server.
        self.refusal: bytes | None = None
        self.refused = 0
        #: Seconds by which every answer is late.
        self.latency = 0.0
        #: Requests that reached the server, by name.
        self.passed: Counter[str] = Counter()
        server = URL(url)
        self._server = (server.host, server.port)
        self._kind = kind
        self._is_cut = False
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Relay]:
        listener = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=LIMIT)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listener.close()
            await self._drop()

    @property
    def is_busy(self) -> bool:
        """Tell whether anything is connected, or on its way."""
        return bool(self._tasks)

    async def disconnect(self) -> None:
        """Break all connections, and each new one at once, until `reconnect`."""
        self._is_cut = True
        await self._drop()

    def reconnect(self) -> None:
        """Let new connections pass again."""
        self._is_cut = False

    async def _drop(self) -> None:
        while tasks := [task for task in self._tasks if task is not asyncio.current_task()]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Relay one connection until either end closes, or a breakpoint has killed the process."""
        writers = [writer]
        with suppress(*_ENDINGS):
            try:
                if not self._is_cut:
                    server_reader, server_writer = await asyncio.open_connection(*self._server, limit=LIMIT)
                    writers.append(server_writer)
                    await self._relay(_Ends(reader, writer), _Ends(server_reader, server_writer))
            finally:
                for each in writers:
                    each.close()

    async def _relay(self, process: _Ends, server: _Ends) -> None:
        asked: deque[Message] = deque()
        ways = [
            asyncio.ensure_future(self._pass_on(process, server, asked)),
            asyncio.ensure_future(self._pass_back(server, process, asked)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if ways[0] in done and not ways[0].exception():
                await self._let_finish(server, ways[1])
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _let_finish(self, server: _Ends, answering: asyncio.Future[None]) -> None:
        """Let the server work on all that came before the breakpoint: closing at once might discard that."""
        server.writer.write_eof()
        await asyncio.wait([answering], timeout=scaled(5))

    async def _pass_on(self, process: _Ends, server: _Ends, asked: deque[Message]) -> None:
        """Pass requests on; returns where a breakpoint has killed the process."""
        while True:
            message = await self._kind.read_request(process.reader)
            if self.refusal is not None:
                self.refused += 1
                process.writer.write(self.refusal)
                continue
            if await self._is_the_end(message.name, Side.BEFORE):
                return
            self.passed[message.name] += 1
            asked.append(message)
            server.writer.write(message.raw)
            await server.writer.drain()

    async def _pass_back(self, server: _Ends, process: _Ends, asked: deque[Message]) -> None:
        """Pass answers back; returns where a breakpoint has killed the process."""
        while True:
            reply = await self._kind.read_reply(server.reader)
            if not self._kind.is_unasked(reply):
                name = asked.popleft().name
                if self._kind.is_answer(name, reply) and await self._is_the_end(name, Side.AFTER):
                    return
            if self.latency:
                asyncio.get_running_loop().call_later(self.latency, process.writer.write, reply)
                continue
            process.writer.write(reply)
            with suppress(OSError):  # the process has died: its other requests take effect all the same
                await process.writer.drain()

    async def _is_the_end(self, name: str, side: Side) -> bool:
        """Stop at the breakpoint if this is the place; returns whether the message goes no further."""
        point = self.breakpoint
        if point is None or not point.matches(name, side):
            return False
        self.send_signal(point.signal)
        if point.signal == signal.SIGKILL:
            return True
        await point.resumed.wait()
        return False


class _Ends(NamedTuple):
    reader: StreamReader
    writer: StreamWriter
