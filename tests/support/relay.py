"""A relay between one process and one of its servers, which stops that process exactly between two steps.

It reads every message that passes (tests.support.wire). A trap names one of them and the side: BEFORE it is passed on
to the server, or AFTER the server has answered and before the answer is passed back. There it sends the process a
signal. After SIGKILL the message goes no further; after SIGSTOP (or none) it is held until the trap is resumed. The
project has no part in it: the process only knows another port.
"""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from tests.support import wire
from tests.support.waiting import until

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.wire import Message

#: More than the longest line of a message.
LIMIT = 2**20
_ENDINGS = (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError)


class Side(Enum):
    """Which side of a step."""

    BEFORE = "before"
    AFTER = "after"


class Wire(NamedTuple):
    """How to read what passes."""

    read_request: Callable[[StreamReader], Awaitable[Message]]
    read_reply: Callable[[StreamReader], Awaitable[bytes]]
    is_unasked: Callable[[bytes], bool] = lambda _: False
    is_answer: Callable[[str, bytes], bool] = lambda *_: True


REDIS = Wire(wire.read_command, wire.read_reply, wire.is_unasked, wire.is_answer)
HTTP = Wire(wire.read_request, wire.read_response)


@dataclass
class Trap:
    """Springs once, at the `number`-th step of this name, and sends `signal`, 0 for none."""

    step: str
    side: Side
    number: int = 1
    signal: int = signal.SIGKILL
    is_sprung: bool = field(default=False, init=False)
    resumed: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def meets(self, name: str, side: Side) -> bool:
        """Count a step, and tell whether it is the one."""
        if self.is_sprung or side is not self.side or name != self.step:
            return False
        self.number -= 1
        self.is_sprung = self.number == 0
        return self.is_sprung

    async def sprung(self) -> None:
        """Return once it has sprung."""
        await until(lambda: self.is_sprung, timeout=20)


class Relay:
    """Listens on `port` while it runs. `victim` gets the signals; whoever starts it says so."""

    def __init__(self, server: tuple[str, int], kind: Wire) -> None:
        self.port = 0
        self.victim: Callable[[int], None] = lambda _: None
        self.trap: Trap | None = None
        #: Where given, every request gets this answer and reaches no server.
        self.refusal: bytes | None = None
        self.refused = 0
        self._server = server
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

    async def cut(self) -> None:
        """Break all connections, and each new one at once, until `mend`."""
        self._is_cut = True
        await self._drop()

    def mend(self) -> None:
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
        """Relay one connection until either end closes, or what passes must go no further."""
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
        """Let the server work on all that came before the trap: closing in its face might throw that away."""
        server.writer.write_eof()
        await asyncio.wait([answering], timeout=5)

    async def _pass_on(self, process: _Ends, server: _Ends, asked: deque[Message]) -> None:
        """Pass requests on; returns where a trap has killed."""
        while True:
            message = await self._kind.read_request(process.reader)
            if self.refusal is not None:
                self.refused += 1
                process.writer.write(self.refusal)
                continue
            if await self._is_the_end(message.name, Side.BEFORE):
                return
            asked.append(message)
            server.writer.write(message.raw)
            await server.writer.drain()

    async def _pass_back(self, server: _Ends, process: _Ends, asked: deque[Message]) -> None:
        """Pass answers back; returns where a trap has killed."""
        while True:
            reply = await self._kind.read_reply(server.reader)
            if not self._kind.is_unasked(reply):
                name = asked.popleft().name
                if self._kind.is_answer(name, reply) and await self._is_the_end(name, Side.AFTER):
                    return
            process.writer.write(reply)
            with suppress(OSError):  # whoever asked has died: the rest of what it asked for happens all the same
                await process.writer.drain()

    async def _is_the_end(self, name: str, side: Side) -> bool:
        """Spring the trap if this is the place; returns True if the message goes no further, False once it may."""
        trap = self.trap
        if trap is None or not trap.meets(name, side):
            return False
        self.victim(trap.signal)
        if trap.signal == signal.SIGKILL:
            return True
        await trap.resumed.wait()
        return False


class _Ends(NamedTuple):
    reader: StreamReader
    writer: StreamWriter
