"""A consumer of a group: heartbeat, reading, window, attempts, parking, claims, shutdown.

The worker and every handler are a StreamConsumer with a different `attempt`. An attempt that returns Later, or fails
because Redis or the API is unavailable, is repeated for as long as necessary and never counts. Any other exception
counts; after `max_deliveries` of them the entry becomes a dead letter (router.streams.consuming.attempts). Entries that
must wait, or find no room, are parked in Redis, so reading never stops because of them. Known gap: an attempt may be
repeated (at least once), so repeating its effect must change nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from router.logs import describe, log
from router.streams.client.connection import Redis, split_by_server
from router.streams.consuming.admission import Admission
from router.streams.consuming.attempts import Attempts
from router.streams.consuming.claimer import Claimer
from router.streams.consuming.groups import Heartbeat, Start, name_consumer
from router.streams.consuming.lanes import Lanes
from router.streams.consuming.liveness import Liveness
from router.streams.consuming.names import EntryNames
from router.streams.consuming.parker import Parker
from router.streams.consuming.pending import PendingEntries
from router.streams.consuming.poison_isolation import SUSPECT_AFTER, PoisonIsolation
from router.streams.consuming.reading import Reading
from router.streams.consuming.returner import Returner
from router.streams.consuming.window import Window
from router.streams.delivery import Delivery, Limits, StreamRef, Verdict, size_of
from router.streams.store.parking import Parking
from router.tasks import end, finish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from router.core.keys import Keys
    from router.streams.consuming.story_notes import StoryNotes
    from router.streams.store.parking import Returned

__all__ = ["Limits", "StreamConsumer"]

if TYPE_CHECKING:
    #: Settles deliveries as a batch; returns those left to be attempted one by one.
    Intake = Callable[[list[Delivery]], Awaitable[list[Delivery]]]


class StreamConsumer:
    """One consumer of `group` on `streams`.

    `attempt(delivery)` does the work; `subject(delivery)` names what must stay in order. `intake`, if given, gets whole
    batches first and returns the deliveries left to attempt one by one; so does `intake_queued`, with entries of one
    subject that queued behind another and are next now. `account(delivery)` names the account of an
    entry, and `lane(delivery)` what tends to fail together: the account, a blank, the channel. These three may raise
    for an entry that cannot be read, and so may `facts(delivery)`, what log lines say of an entry that waits or fails.
    `before_dead` is awaited, with the reason, before an entry becomes a dead letter, perhaps several times, and
    `on_dead` after it; the first may raise RedisError, the second must not raise. `start` is where the group begins if
    it is new. `telling` tells the stories of entries.
    """

    def __init__(
        self,
        *,
        redis: Redis,
        url: str,
        keys: Keys,
        streams: Sequence[StreamRef],
        group: str,
        limits: Limits,
        attempt: Callable[[Delivery], Awaitable[Verdict]],
        subject: Callable[[Delivery], str],
        intake: Intake | None = None,
        intake_queued: Intake | None = None,
        account: Callable[[Delivery], str] = lambda _: "",
        lane: Callable[[Delivery], str] | None = None,
        on_result: Callable[[str], None] = lambda _: None,
        facts: Callable[[Delivery], Mapping[str, Any]] = lambda _: {},
        on_dead: Callable[[Delivery], Awaitable[None]] | None = None,
        before_dead: Callable[[Delivery, str], Awaitable[None]] | None = None,
        start: Start = Start.OLDEST,
        telling: StoryNotes | None = None,
    ) -> None:
        self.name, self.group = name_consumer(), group
        self._redis = redis
        self._keys = keys
        self._streams = list(streams)
        self._limits = limits
        self._intake = intake
        self._intake_queued = intake_queued
        self._names = EntryNames(subject=subject, account=account, lane=lane or account, facts=facts)
        self._pending = self._make_pending(on_result, on_dead, before_dead, telling)
        self.acknowledge = self._pending.acknowledge
        beats = [keys.heartbeat(stream.partition, group, self.name) for stream in self._streams]
        self.liveness = Liveness(Heartbeat(redis, beats, ttl=limits.heartbeat_ttl), self._pending.held)
        self._parking = Parking(redis, keys, group=group, consumer=self.name)
        self._lanes = Lanes(limits.window, limits.api_calls)
        self._parker = Parker(self._parking, self._streams, names=self._names, pending=self._pending)
        self._admission = self._make_admission()
        self._attempts = self._make_attempts(attempt, on_result)
        self._window = self._make_window()
        self._attempts.window = self._admission.window = self._window
        self._parts = split_by_server(redis, self._streams)
        self._returners = [self._returner(part) for part in self._parts]
        self._parker.on_due = self._wake
        self._reading = self._make_reading(url, start)

    @contextlib.asynccontextmanager
    async def running(self, *others: StreamConsumer) -> AsyncIterator[None]:
        """Consume while the block runs; then stop reading, finish or hand back what is held, and leave the group.

        `others` of the same process do all of that at the same time, so they share its grace.
        """
        begun: list[StreamConsumer] = []
        try:
            for consumer in (self, *others):
                begun.append(consumer)
                await consumer.begin()
            yield
        finally:
            last = time.monotonic() + self._limits.grace
            cut_off = await asyncio.gather(*[consumer.shut_down() for consumer in begun])
            log("process.stopping", consumer=self.name, handed_back=sum(cut_off))
            await asyncio.gather(*[consumer.leave(last) for consumer in begun])

    async def begin(self) -> None:
        """Beat, read and claim from now on."""
        await self.liveness.heartbeat.start()
        for part, returner in zip(self._parts, self._returners, strict=True):
            self.run_beside(self._claimer(part).run(), "claimer")
            self.run_beside(returner.run(), "bring back")
        self.run_beside(self._admission.run(), "let in")
        await self._reading.start()
        self.run_beside(self._reading.run(), "watchdog")

    async def shut_down(self) -> int:
        """Stop reading and claiming; finish what runs within the grace, hand back the rest; returns how many."""
        for task in self.liveness.tasks:
            task.cancel()
        self._admission.close()
        closing = asyncio.create_task(self._window.close(self._limits.grace))
        await end(*self.liveness.tasks)  # before reading stops: the watchdog must not restart it
        await asyncio.gather(
            finish(self._reading.stop(), self._limits.grace), finish(self._admission.parked(), self._limits.grace)
        )
        return await closing

    async def leave(self, last: float) -> None:
        """Leave the group; what needs longer than until `last` (monotonic) gets little more time."""
        await self._pending.leave(self.liveness.heartbeat, self._streams, left=last - time.monotonic())

    def run_beside(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run `work` until this consumer ends; if it ends before, this consumer has failed."""
        self.liveness.tasks.append(asyncio.create_task(work, name=name))

    async def failed(self) -> str:
        """Return why this consumer can do nothing more, once that is so."""
        return await self.liveness.failed(self._reading.failed())

    def _claimer(self, part: Sequence[StreamRef]) -> Claimer:
        return Claimer(
            self._redis,
            self._keys,
            part,
            group=self.group,
            consumer=self.name,
            ttl=self._limits.heartbeat_ttl,
            batch=self._limits.batch,
            held=self._pending.held,
            take=self._receive,
        )

    def _returner(self, part: Sequence[StreamRef]) -> Returner:
        return Returner(
            self._parking,
            part,
            parker=self._parker,
            lanes=self._lanes,
            room=self._admission.room_to_return,
            batch=self._limits.batch,
            take_back=self._take_back,
        )

    def _make_reading(self, url: str, start: Start) -> Reading:
        return Reading(
            self._redis,
            url,
            self._parts,
            group=self.group,
            consumer=self.name,
            batch=self._limits.batch,
            pause=self._limits.retry_delay,
            take=self._receive,
            start=start,
        )

    def _make_window(self) -> Window[Delivery]:
        return Window(
            self._limits.window,
            self._attempts.work,
            order=_position,
            weigh=size_of,
            on_idle=self._admission.end,
            together=self._work_together,
            most=1 if self._intake_queued is None else self._limits.batch,
        )

    def _make_admission(self) -> Admission:
        return Admission(
            lanes=self._lanes,
            names=self._names,
            pending=self._pending,
            parker=self._parker,
            behind=self._limits.batch,
            on_rest=self._resume,
        )

    def _make_pending(
        self,
        on_result: Callable[[str], None],
        on_dead: Callable[[Delivery], Awaitable[None]] | None,
        before_dead: Callable[[Delivery, str], Awaitable[None]] | None,
        telling: StoryNotes | None,
    ) -> PendingEntries:
        return PendingEntries(
            self._redis,
            self._keys,
            group=self.group,
            consumer=self.name,
            names=self._names,
            dead_letter_budget=self._limits.dead_letter_budget,
            on_result=on_result,
            on_dead=on_dead,
            before_dead=before_dead,
            telling=telling,
        )

    def _make_attempts(
        self, attempt: Callable[[Delivery], Awaitable[Verdict]], on_result: Callable[[str], None]
    ) -> Attempts:
        isolation = PoisonIsolation(
            self._pending.crashes, limit=self._limits.max_deliveries, attempt=attempt, paused=self._paused
        )
        return Attempts(
            isolation.attempt,
            limits=self._limits,
            names=self._names,
            pending=self._pending,
            lanes=self._lanes,
            parker=self._parker,
            admission=self._admission,
            liveness=self.liveness,
            acknowledge=lambda *group: self.acknowledge(*group),  # noqa: PLW0108 - it is looked up when it is called
            on_result=on_result,
        )

    def is_busy(self, delivery: Delivery) -> bool:
        """Return whether an entry of the delivery's subject is held: this one must queue behind it."""
        is_possible = self._window.held or self._admission.is_parking
        return bool(is_possible) and self._admission.is_busy(self._names.subject(delivery))

    async def _receive(self, deliveries: list[Delivery]) -> None:
        """Take what was read or claimed; a group that was created anew also delivers entries that are held here."""
        held = self._pending.held
        if fresh := [one for one in deliveries if (one.stream.key, one.entry_id) not in held]:
            await self.take(fresh)

    async def take(self, deliveries: list[Delivery]) -> None:
        """Take a batch in; returns once each entry is settled, in the window or parked, which holds up the reader.

        However it ends (the window closes, the reader is canceled, an exception), no entry stays held that is in none
        of these places: it is pending or parked, and the claimer of this consumer or of a survivor takes it up.
        """
        self._pending.hold(deliveries)
        left = deliveries
        self.liveness.begin()
        try:
            try:
                left = await self._parker.park_behind(deliveries)
                left = await self._settle(left, self._intake)
            except BaseException:
                self._pending.release(left)
                raise
            await self._admission.admit(left)
        finally:
            self.liveness.end()
        if self._parker.streams:
            for delivery in left:
                if delivery.is_redelivered:  # its consumer has died, and cannot resume the rest of the subject
                    self._admission.note_rest(delivery)

    async def _settle(self, deliveries: list[Delivery], intake: Intake | None) -> list[Delivery]:
        """Settle a batch as a whole, as far as that is possible; returns the deliveries left to attempt one by one."""
        if intake is None or not deliveries or any(one.crashes >= SUSPECT_AFTER for one in deliveries):
            return deliveries
        self.liveness.begin()
        try:
            return await intake(deliveries)
        except Exception as error:  # noqa: BLE001 - the batch is not lost: each entry is attempted by itself
            log("batch.failed", level="warning", error=describe(error))
            return deliveries
        finally:
            self.liveness.end()

    async def _work_together(self, deliveries: list[Delivery]) -> list[Delivery]:
        """Settle entries that have queued behind another of their subject; returns those left to be attempted."""
        try:
            return await self._settle(await self._parker.park_behind(deliveries), self._intake_queued)
        except Exception as error:  # noqa: BLE001 - as for a batch
            log("batch.failed", level="warning", error=describe(error))
            return deliveries

    async def _take_back(self, returned: list[Returned], lane: str) -> None:
        """Take in entries that were brought back from a lane that has room for them."""
        there = [one for one in returned if one.delivery.fields]
        if len(there) < len(returned):
            log("parked.gone", level="error", group=self.group, entries=len(returned) - len(there))
        held = self._pending.held  # the claimer has taken one up meanwhile, if Redis answered late
        there = [one for one in there if (one.delivery.stream.key, one.delivery.entry_id) not in held]
        deliveries = [one.delivery for one in there]
        self._pending.hold(deliveries)
        try:
            left = await self._settle(deliveries, self._intake)
        except BaseException:
            self._pending.release(deliveries)
            raise
        await self._admission.admit_returned(left, lane)
        for one in there:
            if one.left:
                self._admission.note_rest(one.delivery)

    def _wake(self) -> None:
        for returner in self._returners:
            returner.wake()

    def _resume(self, delivery: Delivery) -> None:
        """Bring the rest of a subject back: what was in the window of it is finished."""
        for returner in self._returners:
            returner.resume(delivery.stream, self._names.subject(delivery))

    def _paused(self, _: Delivery) -> AbstractAsyncContextManager[None]:
        return self._window.paused()


def _position(delivery: Delivery) -> tuple[int, int]:
    """Return the position of an entry in its stream."""
    millis, _, number = delivery.entry_id.partition("-")
    return int(millis), int(number)
