"""The fast lane: a usual webhook from the bytes of its connection to the append and to the bytes of its answer.

aiohttp makes a parsed message, a stream, a request, a writer and a task for each request, and several turns of the
event loop pass. A plain request (router.receiver.plain_requests) on an idle connection needs none of them: it is
checked and appended by the functions that all webhooks pass (Ingest.begin), in the call that receives its data, and
answered in a row with all others of its pipeline. Whatever is unusual is aiohttp's: a request that is not plain, one
that is refused or has an answer of its own, a connection that is not idle, a spool that is active. If something
unusual happens after the append (Redis fails, the process stops, the caller does not read), aiohttp gets the same
bytes, and a handler that knows the outcome of the append (`LaneConnection.hand_over`).
Gain, by tests.benchmarks.steps: 940 of the 3,120 steps of a webhook, all of aiohttp's among them; a third of its CPU
without the socket, by the process' clock.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from router.core.errors import NotDurableError
from router.core.events import SourceName
from router.inbound.sources import SOURCES
from router.receiver.answers import Answer, SharedResponse, respond
from router.receiver.ingest import BegunWebhook, JudgedWebhook
from router.receiver.plain_requests import Boundaries, read_plain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.inbound.sources import Source
    from router.receiver.ingest import Ingest
    from router.receiver.requests import RawRequest
    from router.streams.store.append import Outcome

#: The sources whose usual webhook has one event and gets the constant answer. The answer to a call depends on the call,
#: mails and batches of Event Streams are large.
SOURCES_OF_LANE: Final = (SourceName.MESSAGING, SourceName.CLASSIC, SourceName.CONVERSATIONS)


class LaneConnection(web.RequestHandler):
    """A connection of aiohttp whose `lane` is offered what arrives while it is idle.

    To aiohttp a connection with a webhook on the lane is still idle. What arrives meanwhile is held, and nothing more
    is read.
    """

    __slots__ = ("_boundaries", "_held", "_lane", "_taken")

    def __init__(
        self, manager: web.Server, *, lane: FastLane | None, loop: asyncio.AbstractEventLoop, **options: Any
    ) -> None:
        super().__init__(manager, loop=loop, **options)
        self._lane = lane
        self._boundaries = Boundaries()
        self._taken: TakenWebhook | None = None
        self._held = b""

    def note_answered(self) -> None:
        """Note that an answer is sent."""

    def data_received(self, data: bytes) -> None:
        """Let the lane take a webhook, and pass anything else to aiohttp."""
        if self._lane is not None:
            if self._taken is not None:
                self._hold(data)
                return
            waiter = self._waiter  # aiohttp's, pending as long as it waits for a request
            is_idle = waiter is not None and not waiter.done() and self._boundaries.is_between and not self._paused
            found = self._lane.read(data) if is_idle else None
            if found is None:
                self._boundaries.note(data)
            else:  # aiohttp's parser will be between two requests again after it
                taken = self._lane.take(self, data, *found)
                if isinstance(taken, TakenWebhook):
                    self._taken = taken
                    self._request_count += 1
                    return
                if taken is not None:
                    self._answer_next_by(partial(self._lane.respond, taken))
        super().data_received(data)

    def send_answer(self, taken: TakenWebhook, data: bytes) -> None:
        """Send the answer to the webhook on the lane, unless aiohttp has got that meanwhile."""
        if self._taken is not taken:
            return
        self._taken = None
        self.note_answered()
        if self.transport is None or self.transport.is_closing():  # uvloop raises if it is written to
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        self.transport.write(data)
        if self._held:
            self._release()

    def hand_over(self, taken: TakenWebhook) -> None:
        """Let aiohttp answer the webhook on the lane: it gets its bytes again, and a handler that knows more."""
        if self._taken is not taken:
            return
        self._taken = None
        self._request_count -= 1  # aiohttp counts it
        self._answer_next_by(taken.respond)
        super().data_received(taken.data)
        if self._held:
            self._release()

    def _answer_next_by(self, respond: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        """Let the request that aiohttp gets next be answered by `respond`, and those after it as usual."""
        usual = self._request_handler

        async def handle(request: Any) -> web.StreamResponse:
            self._request_handler = usual
            return await respond(request)

        self._request_handler = handle

    def close(self) -> None:
        """Close after the requests in progress; one on the lane becomes aiohttp's, which waits for it."""
        if self._taken is not None and self.transport is not None:
            self.hand_over(self._taken)
        super().close()

    def _hold(self, data: bytes) -> None:
        if not self._held:
            self._pause_transport_reading()
        self._held += data

    def _release(self) -> None:
        """Process what arrived while a webhook was on the lane."""
        held, self._held = self._held, b""
        if not (self._reading_paused or self._buffer_paused):  # by aiohttp, for a webhook that it got meanwhile
            self._resume_transport_reading()
        self.data_received(held)

    def _process_keepalive(self) -> None:
        if self._taken is not None:  # it only seems idle
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()


class TakenWebhook:
    """A webhook whose event is being appended, until its answer is sent; `data` are the bytes of its request."""

    __slots__ = ("_answer", "_ingest", "_lane", "_outcome", "begun", "connection", "data")

    #: Set once the append has begun, before it ends.
    begun: BegunWebhook

    def __init__(self, lane: FastLane, ingest: Ingest, connection: LaneConnection, data: bytes) -> None:
        self._lane = lane
        self._ingest = ingest
        self.connection = connection
        self.data = data
        self._answer: Answer | None = None
        self._outcome: asyncio.Future[Outcome] | None = None

    def resolve(self, outcome: Outcome) -> None:
        """Take the outcome of the append: write the log line, and let the answer be sent."""
        if self._outcome is not None:  # aiohttp waits for it
            self._outcome.set_result(outcome)
            return
        if isinstance(outcome, NotDurableError):
            self._expect().set_result(outcome)
        else:
            self._answer = self._ingest.finish(self.begun, is_new=outcome)
        self._lane.settle(self, self._answer)

    def _expect(self) -> asyncio.Future[Outcome]:
        self._outcome = asyncio.get_running_loop().create_future()
        return self._outcome

    async def answer(self) -> Answer:
        """Return the answer once the outcome is known; after a failure of Redis the event goes to the spool."""
        if self._answer is not None:
            return self._answer
        outcome = await (self._outcome or self._expect())
        if isinstance(outcome, NotDurableError):
            return await self._ingest.finish_late(self.begun, outcome)
        return self._ingest.finish(self.begun, is_new=outcome)

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """Return aiohttp's response to the webhook."""
        return await respond(await self.answer(), request, is_last=self._lane.is_stopping)


class FastLane:
    """The lane of one receiver. Once it is `stopping`, each answer is the last one of its connection: aiohttp's."""

    def __init__(self, ingest: Ingest, stopping: asyncio.Event) -> None:
        self._ingest = ingest
        self._stopping = stopping
        self._sources = {SOURCES[name].path: SOURCES[name] for name in SOURCES_OF_LANE}
        self._answered: list[tuple[TakenWebhook, SharedResponse]] = []
        self._orphans: set[asyncio.Task[Answer]] = set()

    @property
    def is_stopping(self) -> bool:
        """True once each answer is the last one of its connection."""
        return self._stopping.is_set()

    def read(self, data: bytes) -> tuple[Source, RawRequest] | None:
        """Return the source and the request if the data is one plain webhook, else None."""
        return read_plain(data, self._sources)

    def take(
        self, connection: LaneConnection, data: bytes, source: Source, raw: RawRequest
    ) -> TakenWebhook | JudgedWebhook | None:
        """Begin with a webhook that has been read from `data`; aiohttp gets all others, judged already or not."""
        if self._stopping.is_set():
            return None
        taken = TakenWebhook(self, self._ingest, connection, data)
        begun = self._ingest.begin(raw, source, taken.resolve)
        if not isinstance(begun, BegunWebhook):
            return begun
        taken.begun = begun
        return taken

    async def respond(self, judged: JudgedWebhook, request: web.Request) -> web.StreamResponse:
        """Return aiohttp's response to a webhook that has been judged already."""
        answer = await self._ingest.handle(request, judged.record.source, judged)
        return await respond(answer, request, is_last=self.is_stopping)

    def settle(self, taken: TakenWebhook, answer: Answer | None) -> None:
        """Send the answer at the beginning of the next turn of the event loop, after its log line; None: not yet known.

        aiohttp sends all but the usual one. If the caller has disconnected, the event is stored even so.
        """
        connection = taken.connection
        if connection.transport is None:
            if answer is None:
                task = asyncio.create_task(taken.answer(), name="webhook")
                self._orphans.add(task)
                task.add_done_callback(self._orphans.discard)
        elif answer is None or answer.shared is None or self._stopping.is_set() or connection.writing_paused:
            connection.hand_over(taken)
        else:
            if not self._answered:
                asyncio.get_running_loop().call_soon(self._send)
            self._answered.append((taken, answer.shared))

    async def close(self) -> None:
        """Wait for the events whose callers have disconnected."""
        if self._orphans:
            await asyncio.wait(self._orphans)

    def _send(self) -> None:
        answered, self._answered = self._answered, []
        for taken, response in answered:
            taken.connection.send_answer(taken, response.render())
