"""A consumer of a group: heartbeat, reading, window, attempts, claims, shutdown.

The worker and every handler are a StreamConsumer with a different `attempt`. An attempt that returns Later, or fails
because Redis or the API is unavailable, is repeated for as long as necessary and never counts. Any other exception
counts; after `max_deliveries` of them the entry becomes a dead letter. Known gap: an attempt may be repeated (at least
once), so repeating its effect must change nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from router.core.backoff import backoff
from router.core.errors import AuthenticationError, UnavailableError
from router.logs import describe, log
from router.streams.client.connection import Redis, RedisError, split_by_server
from router.streams.consuming.account_windows import AccountWindows, read_aside
from router.streams.consuming.claimer import Claimer
from router.streams.consuming.groups import Heartbeat, name_consumer
from router.streams.consuming.liveness import Liveness
from router.streams.consuming.pending import PendingEntries
from router.streams.consuming.poison_isolation import SUSPECT_AFTER, PoisonIsolation
from router.streams.consuming.reading import Reading
from router.streams.consuming.window import WorkResult
from router.streams.delivery import LONGEST_PAUSE, Delivery, Later, Limits, Poison, StreamRef, Verdict, pause_of
from router.streams.store.dead_letters import reason_of
from router.tasks import end, finish, is_canceled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager

    from router.core.keys import Keys

__all__ = ["Limits", "StreamConsumer"]

#: Seconds between two checks whether an account has room for entries that were set aside.
ASIDE_INTERVAL: Final = 0.05


class AttemptOutcome(Enum):
    """How an attempt at an entry ended."""

    #: Acknowledged, a dead letter, or another consumer's by now.
    ENDED = "ended"
    #: Left pending: the claimer takes it up again, after the entry that it waits for.
    RELEASED = "released"
    RETRY = "retry"


@dataclass(slots=True)
class _Tries:
    """The attempts at one entry in this process; `pause` is the time in seconds before the next one, None: back-off.

    `is_begun`: an attempt may have had an effect that the next must look for. `is_queued`: it only waits for its turn.
    """

    delivery: Delivery
    count: int = 0
    pause: float | None = None
    is_queued: bool = False
    is_begun: bool = False


class StreamConsumer:
    """One consumer of `group` on `streams`.

    `attempt(delivery)` does the work; `subject(delivery)` names what must stay in order. `intake`, if given, gets whole
    batches first and returns the deliveries left to attempt one by one. `account(delivery)`, if given, names the
    account of an entry; each account then has a window of its own. Both `subject` and `account` may raise for an entry
    that cannot be read.
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
        intake: Callable[[list[Delivery]], Awaitable[list[Delivery]]] | None = None,
        account: Callable[[Delivery], str] | None = None,
        on_result: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.name, self.group = name_consumer(), group
        self._redis = redis
        self._keys = keys
        self._streams = list(streams)
        self._limits = limits
        self._subject = subject
        self._intake = intake
        self._account = account
        self._on_result = on_result
        self._pending = PendingEntries(
            redis,
            keys,
            group=group,
            consumer=self.name,
            dead_letter_budget=limits.dead_letter_budget,
            on_result=on_result,
        )
        self.acknowledge = self._pending.acknowledge
        beats = [keys.heartbeat(stream.partition, group, self.name) for stream in self._streams]
        self.liveness = Liveness(Heartbeat(redis, beats, ttl=limits.heartbeat_ttl), self._pending.held)
        crashes = self._pending.crashes
        isolation = PoisonIsolation(crashes, limit=limits.max_deliveries, attempt=attempt, parked=self._parked)
        self._attempt = isolation.attempt
        self._windows = AccountWindows(limits.window, self._work, has_several_accounts=account is not None)
        self._parts = split_by_server(redis, self._streams)
        self._reading = Reading(
            redis,
            url,
            self._parts,
            group=group,
            consumer=self.name,
            batch=limits.batch,
            pause=limits.retry_delay,
            take=self._receive,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Consume while the block runs; then stop reading, finish or hand back what is held, and leave the group."""
        try:
            await self.liveness.heartbeat.start()
            for part in self._parts:
                self.run_beside(self._claimer(part).run(), "claimer")
            if self._account is not None:
                self.run_beside(self._bring_back(), "bring back")
            await self._reading.start()
            self.run_beside(self._reading.run(), "watchdog")
            yield
        finally:
            last = time.monotonic() + self._limits.grace
            await self._shut_down()
            await self._pending.leave(self.liveness.heartbeat, self._streams, left=last - time.monotonic())

    async def _shut_down(self) -> None:
        """Stop reading and claiming; finish what runs within the grace, hand back the rest."""
        for task in self.liveness.tasks:
            task.cancel()
        closing = asyncio.create_task(self._windows.close(self._limits.grace))
        await end(*self.liveness.tasks)  # before reading stops: the watchdog must not restart it
        await finish(self._reading.stop(), self._limits.grace)
        cut_off = await closing
        log("process.stopping", consumer=self.name, handed_back=cut_off)

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
            take=self.take,
        )

    def is_busy(self, subject: str) -> bool:
        """Return whether an entry of this subject is held: a later one must queue behind it."""
        return self._windows.is_busy(subject)

    async def _receive(self, deliveries: list[Delivery]) -> None:
        """Take what was read; a group that was created anew also delivers entries that are held here."""
        held = self._pending.held
        if fresh := [one for one in deliveries if (one.stream.key, one.entry_id) not in held]:
            await self.take(fresh)

    async def take(self, deliveries: list[Delivery]) -> None:
        """Take a batch in; returns once the window has room for more, which holds up the reader.

        However it ends (the window closes, the reader is canceled, an exception), no entry stays held that did not
        reach the window: it is pending, and the claimer of this consumer or of a survivor takes it up.
        """
        self._pending.hold(deliveries)
        left, taken = deliveries, 0
        self.liveness.begin()
        try:
            if self._intake is not None and all(one.crashes < SUSPECT_AFTER for one in deliveries):
                try:
                    left = await self._intake(deliveries)
                except Exception as error:  # noqa: BLE001 - the batch is not lost: each entry is attempted by itself
                    log("batch.failed", level="warning", error=describe(error))
            for delivery in left:
                if not await self._windows.admit(self._account_of(delivery), self._subject_of(delivery), delivery):
                    return
                taken += 1
        finally:
            self.liveness.end()
            if taken < len(left):
                self._pending.release(left[taken:])
        await self._windows.wait_for_room()

    async def _bring_back(self) -> None:
        """Take entries that were set aside in again as their account gets room; if Redis fails, retry later."""
        while True:
            try:
                for account, entries in self._windows.due(self._limits.batch):
                    found = await read_aside(self._redis, entries)
                    gone = [entry for entry, delivery in zip(entries, found, strict=True) if delivery is None]
                    self._pending.held.difference_update((entry.stream.key, entry.entry_id) for entry in gone)
                    self._windows.bring_back(account, entries, found)
            except (RedisError, OSError) as error:
                log("redis.failed", level="warning", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(self._limits.retry_delay)
            await asyncio.sleep(ASIDE_INTERVAL)

    def _account_of(self, delivery: Delivery) -> str:
        if self._account is None:
            return ""
        try:
            return self._account(delivery)
        except Exception:  # noqa: BLE001 - an entry without a readable account gets none; its attempt says what is wrong
            return ""

    def _subject_of(self, delivery: Delivery) -> str:
        try:
            return self._subject(delivery)
        except Exception:  # noqa: BLE001 - an entry without a readable subject is its own; its attempt says what is wrong
            return delivery.entry_id

    def _parked(self, delivery: Delivery) -> AbstractAsyncContextManager[None]:
        return self._windows.of(self._account_of(delivery)).parked()

    async def _work(self, delivery: Delivery) -> WorkResult:
        """Attempt an entry until it is over here; REQUEUE if an earlier entry of its subject came in meanwhile."""
        tries = _Tries(delivery)
        window, subject = self._windows.of(self._account_of(delivery)), self._subject_of(delivery)
        result = WorkResult.FINISHED
        self.liveness.begin()
        try:
            while result is WorkResult.FINISHED and await self._try(tries) is AttemptOutcome.RETRY:
                pause = self._back_off(tries) if tries.pause is None else tries.pause
                tries.count += 1
                async with window.parked():
                    await asyncio.sleep(pause)
                if tries.is_queued and window.has_earlier(subject, delivery):
                    result = WorkResult.REQUEUE
        finally:
            self.liveness.end()
            if result is WorkResult.FINISHED:
                self._pending.release([delivery])
        return result

    async def _try(self, tries: _Tries) -> AttemptOutcome:
        """Attempt an entry once; if even settling the result fails, it is attempted again and keeps its place."""
        try:
            return await self._try_once(tries)
        except asyncio.CancelledError:
            if is_canceled():
                raise
            reason = "settling was canceled"
        except Exception as error:  # noqa: BLE001 - the entries behind it must not wait for ever, nor overtake it
            reason = describe(error)
        log("event.failed", level="error", entry=tries.delivery.entry_id, reason=reason)
        return AttemptOutcome.RETRY

    async def _try_once(self, tries: _Tries) -> AttemptOutcome:
        """Attempt an entry once and settle the result."""
        if tries.is_begun and not tries.delivery.is_redelivered:
            tries.delivery = replace(tries.delivery, is_redelivered=True)
        delivery = tries.delivery
        tries.pause, tries.is_begun, tries.is_queued = None, True, False
        try:
            return await self._settle(tries, await self._attempt(delivery))
        except (RedisError, ConnectionError, TimeoutError) as error:
            log("redis.failed", level="warning", entry=delivery.entry_id, error=f"{type(error).__name__}: {error}")
            return AttemptOutcome.RETRY
        except (UnavailableError, AuthenticationError) as error:
            tries.pause = error.retry_after or None
            return await self._wait(tries, f"{type(error).__name__}: {error}")
        except asyncio.CancelledError as error:
            if is_canceled():
                raise
            return await self._fail(tries, error)  # something that the attempt awaited was canceled, not this task
        except Exception as error:  # noqa: BLE001 - the composition root of an attempt: it counts, and is logged
            return await self._fail(tries, error)

    def _back_off(self, tries: _Tries) -> float:
        return backoff(self._limits.retry_delay, tries.count, ceiling=LONGEST_PAUSE)

    async def _settle(self, tries: _Tries, verdict: Verdict) -> AttemptOutcome:
        """Carry out the verdict of an attempt."""
        delivery = tries.delivery
        if isinstance(verdict, Later):
            tries.is_queued = verdict.is_queued
            tries.is_begun = verdict.is_unsure
            if verdict.is_queued and self._windows.of(self._account_of(delivery)).is_at_capacity:
                return AttemptOutcome.RELEASED
            tries.pause = pause_of(verdict, tries.count)
            return await self._wait(tries, verdict.reason, is_usual=verdict.is_usual)
        if isinstance(verdict, Poison):
            return await self._give_up(tries, verdict.reason, deliveries=max(tries.count + 1, delivery.crashes))
        await self.acknowledge([delivery])
        return AttemptOutcome.ENDED

    async def _wait(self, tries: _Tries, reason: str, *, is_usual: bool = False) -> AttemptOutcome:
        delivery = tries.delivery
        self._on_result("waiting")
        if tries.count == 0 and not is_usual:
            account = self._account_of(delivery) or None
            where = {"entry": delivery.entry_id, "stream": delivery.stream.key, "account": account}
            log("event.waiting", level="warning", **where, reason=reason)
            with contextlib.suppress(RedisError, OSError):
                await self._pending.reset_count(delivery)
        return AttemptOutcome.RETRY

    async def _fail(self, tries: _Tries, error: BaseException) -> AttemptOutcome:
        """Count a failure; beyond `max_deliveries` the entry is given up."""
        delivery = tries.delivery
        self._on_result("failed")
        try:
            count = await self._pending.count_failure(delivery)
            if count is None:
                return AttemptOutcome.ENDED
            log("event.failed", level="warning", entry=delivery.entry_id, deliveries=count, reason=describe(error))
            if count <= self._limits.max_deliveries:
                return AttemptOutcome.RETRY
            return await self._give_up(tries, reason_of(error), deliveries=count - 1, shown=describe(error))
        except (RedisError, OSError):
            return AttemptOutcome.RETRY

    async def _give_up(
        self, tries: _Tries, reason: str, *, deliveries: int, shown: str | None = None
    ) -> AttemptOutcome:
        is_over = await self._pending.give_up(tries.delivery, reason, deliveries=deliveries, shown=shown)
        return AttemptOutcome.ENDED if is_over else AttemptOutcome.RETRY
