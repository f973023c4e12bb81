"""A consumer process of a group: heartbeat, reading, window, taking over, giving up, shutting down.

The worker and every handler are one of these with a different `attempt`. An attempt that says Later or fails for want
of Redis or of the API is tried again for as long as it takes and never counts; any other exception counts, and after
`max_deliveries` of them (the entry's delivery count, so it survives a restart) the entry becomes a dead letter.
Promised: an entry is acknowledged only after its attempt is done or its dead letter is written. Known gap: an attempt
may be repeated (at least once), so its effect must be one that a second time changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from router.core.errors import AuthenticationError, UnavailableError
from router.core.timestamps import to_text
from router.logs import describe, log
from router.streams.client.connection import Redis, RedisError, load_script, split_by_server
from router.streams.client.gathering import make_gathering_client
from router.streams.consuming.account_windows import AccountWindows, read_named
from router.streams.consuming.budget import Budget
from router.streams.consuming.claimer import Claimer
from router.streams.consuming.groups import Heartbeat, name_consumer
from router.streams.consuming.poison_isolation import FREE, CrashCounts, PoisonIsolation
from router.streams.consuming.reading import Reading
from router.streams.consuming.window import Turn
from router.streams.delivery import Delivery, Later, Limits, Poison, StreamRef, Verdict, pause_after_failure, pause_of
from router.streams.store.dead_letters import give_up, reason_of
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager

    from router.core.keys import Keys

__all__ = ["Limits", "StreamConsumer"]

#: Seconds between two looks whether an account has room for what was set aside.
LOOK_ASIDE: Final = 0.05


@dataclass(slots=True)
class _Tries:
    """How often an entry was tried here; `is_begun` if one of ours may have had an effect that the next must look for.

    `is_queued` while only its turn has not come.
    """

    delivery: Delivery
    count: int = 0
    is_queued: bool = False
    is_begun: bool = False


class StreamConsumer:
    """One consumer of `group` on `streams`.

    `attempt(delivery)` does the work; `subject(delivery)` names what must stay in order. `intake`, where given, gets
    whole batches first (with this consumer) and returns what is left to be attempted one by one. `account(delivery)`,
    where given, tells whose an entry is: each account then has a window of its own (shares). Neither needs to be right
    for an entry that cannot be read, and both may raise.
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
        self.name = name_consumer()
        self.group = group
        self._redis = redis
        self._gathering = make_gathering_client(redis)
        self._keys = keys
        self._streams = list(streams)
        self._limits = limits
        self._deaths = CrashCounts(redis, keys, group=group, consumer=self.name)
        trials = PoisonIsolation(self._deaths, limit=limits.max_deliveries, attempt=attempt, parked=self._parked)
        self._attempt = trials.attempt
        self._subject = subject
        self._intake = intake
        self._on_result = on_result
        self._held: set[tuple[str, str]] = set()
        self._budget = Budget(limits.dead_letter_budget, group=group)
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
        self._account = account
        self._shares = AccountWindows(limits.window, self._work, has_several=account is not None)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Consume while the block runs; leaving it stops reading, finishes or hands back, and says goodbye."""
        beats = [self._keys.heartbeat(stream.partition, self.group, self.name) for stream in self._streams]
        try:
            async with Heartbeat(self._redis, beats, ttl=self._limits.heartbeat_ttl):
                beside = [asyncio.create_task(self._claimer(part).run(), name="claimer") for part in self._parts]
                if self._account is not None:
                    beside.append(asyncio.create_task(self._bring_back(), name="bring back"))
                try:
                    await self._reading.start()
                    beside.append(asyncio.create_task(self._reading.run(), name="watchdog"))
                    yield
                finally:
                    await self._wind_up(beside)
        finally:
            await self._leave()

    async def _wind_up(self, beside: list[asyncio.Task[None]]) -> None:
        """Stop reading and claiming; finish what runs within the grace, hand back the rest."""
        for task in beside:
            task.cancel()
        closing = asyncio.create_task(self._shares.close(self._limits.grace))
        await end(*beside)  # the watchdog first: it must not begin to read again
        await self._reading.stop()
        cut_off = await closing
        log("process.stopping", consumer=self.name, handed_back=cut_off)

    async def failed(self) -> str:
        """Wait until reading has ended for good, and return the reason for the log."""
        await self._reading.failed()
        return "the key of a stream holds another type: see reading.failed"

    def _claimer(self, part: Sequence[StreamRef]) -> Claimer:
        return Claimer(
            self._redis,
            self._keys,
            part,
            group=self.group,
            consumer=self.name,
            ttl=self._limits.heartbeat_ttl,
            batch=self._limits.batch,
            held=self._held,
            take=self.take,
        )

    async def _leave(self) -> None:
        """Remove our name from the group where nothing of ours is pending; else it is handed back to survivors."""
        for stream in self._streams:
            with contextlib.suppress(RedisError, OSError):
                if not await self._deaths.forget_consumer(stream, self.name):
                    await self._deaths.note_leaving(stream)

    def is_busy(self, subject: str) -> bool:
        """Tell whether an entry of this subject is being worked on."""
        return self._shares.is_busy(subject)

    async def _receive(self, deliveries: list[Delivery]) -> None:
        """Take what was read; a group that was created anew also delivers what is being worked on here."""
        if fresh := [one for one in deliveries if (one.stream.key, one.entry_id) not in self._held]:
            await self.take(fresh)

    async def take(self, deliveries: list[Delivery]) -> None:
        """Take a batch in; returns when the window has room for more, which is what stops the reader."""
        self._held.update((one.stream.key, one.entry_id) for one in deliveries)
        left = deliveries
        if self._intake is not None and all(one.deaths < FREE for one in deliveries):
            try:
                left = await self._intake(deliveries)
            except Exception as error:  # noqa: BLE001 - whatever it is, the batch is not lost: each is tried on its own
                log("batch.failed", level="warning", error=describe(error))
        for position, delivery in enumerate(left):
            if not await self._shares.admit(self._account_of(delivery), self._lane(delivery), delivery):
                self._release(left[position:])  # closing: they stay pending, and a survivor takes them
                return
        await self._shares.wait_for_room()

    async def _bring_back(self) -> None:
        """Take what was set aside in again as its account gets room; what Redis cannot give now waits a little more."""
        while True:
            try:
                for account, names in self._shares.due(self._limits.batch):
                    found = await read_named(self._redis, names)
                    gone = [name for name, delivery in zip(names, found, strict=True) if delivery is None]
                    self._held.difference_update((name.stream.key, name.entry_id) for name in gone)
                    self._shares.bring_back(account, names, found)
            except (RedisError, OSError) as error:
                log("redis.failed", level="warning", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(self._limits.retry_delay)
            await asyncio.sleep(LOOK_ASIDE)

    def _account_of(self, delivery: Delivery) -> str:
        if self._account is None:
            return ""
        try:
            return self._account(delivery)
        except Exception:  # noqa: BLE001 - what says no account is nobody's; its attempt says what is wrong
            return ""

    def _lane(self, delivery: Delivery) -> str:
        try:
            return self._subject(delivery)
        except Exception:  # noqa: BLE001 - what has no subject is worked on by itself; its attempt says what is wrong
            return delivery.entry_id

    async def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        """Acknowledge finished deliveries in one round trip; raises RedisError, after which they may be repeated."""
        by_stream: dict[str, list[str]] = {}
        done = list(deliveries)
        for delivery in done:
            by_stream.setdefault(delivery.stream.key, []).append(delivery.entry_id)
        pipeline = self._gathering.pipeline(transaction=False)
        for stream, ids in by_stream.items():
            pipeline.xack(stream, self.group, *ids)
        for delivery in done:
            if delivery.deaths:
                pipeline.hdel(self._deaths.key(delivery.stream), delivery.entry_id)
        await pipeline.execute()
        self._budget.note_done(len(done))
        self._release(done)

    def _release(self, deliveries: Iterable[Delivery]) -> None:
        self._held.difference_update((one.stream.key, one.entry_id) for one in deliveries)

    async def _work(self, delivery: Delivery) -> Turn | None:
        """Try until it is done, dead or somebody else's; AGAIN if what came in meanwhile goes first."""
        state = _Tries(delivery)
        window, lane = self._shares.of(self._account_of(delivery)), self._lane(delivery)
        is_overtaken = False
        try:
            while not is_overtaken and (pause := await self._try(state)) is not None:
                state.count += 1
                async with window.parked():
                    await asyncio.sleep(pause)
                is_overtaken = state.is_queued and window.has_earlier(lane, delivery)
        finally:
            if not is_overtaken:
                self._release([delivery])
        return Turn.AGAIN if is_overtaken else None

    def _parked(self, delivery: Delivery) -> AbstractAsyncContextManager[None]:
        return self._shares.of(self._account_of(delivery)).parked()

    async def _try(self, state: _Tries) -> float | None:
        """Do one attempt; returns the pause before the next, or None if there is none."""
        if state.is_begun and not state.delivery.is_redelivered:
            state.delivery = replace(state.delivery, is_redelivered=True)
        delivery = state.delivery
        pause = pause_after_failure(self._limits.retry_delay, state.count)
        state.is_begun, state.is_queued = True, False
        try:
            return await self._settle(state, delivery, await self._attempt(delivery), pause)
        except (RedisError, ConnectionError, TimeoutError) as error:
            log("redis.failed", level="warning", entry=delivery.entry_id, error=f"{type(error).__name__}: {error}")
            return pause
        except (UnavailableError, AuthenticationError) as error:
            return await self._wait(state, f"{type(error).__name__}: {error}", error.retry_after or pause)
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            return await self._fail(delivery, error, pause)  # not we were canceled, but what the attempt waited for
        except Exception as error:  # noqa: BLE001 - the composition root of an attempt: it counts, and is logged
            return await self._fail(delivery, error, pause)

    async def _settle(self, state: _Tries, delivery: Delivery, verdict: Verdict, pause: float) -> float | None:
        """Do what an attempt says of its delivery; returns as _try does."""
        if isinstance(verdict, Later):
            state.is_queued = verdict.is_queued
            state.is_begun = verdict.is_unsure
            if verdict.is_queued and self._shares.of(self._account_of(delivery)).is_crowded:
                return None  # it stays pending; the claimer takes it up again, after what it waits for
            return await self._wait(state, verdict.reason, pause_of(verdict, state.count), is_usual=verdict.is_usual)
        if isinstance(verdict, Poison):
            deliveries = max(state.count + 1, delivery.deaths)
            return await self._give_up(delivery, verdict.reason, pause, deliveries=deliveries)
        await self.acknowledge([delivery])
        return None

    async def _wait(self, state: _Tries, reason: str, pause: float, *, is_usual: bool = False) -> float:
        delivery = state.delivery
        self._on_result("waiting")
        if state.count == 0 and not is_usual:
            account = self._account_of(delivery) or None
            where = {"entry": delivery.entry_id, "stream": delivery.stream.key, "account": account}
            log("event.waiting", level="warning", **where, reason=reason)
            with contextlib.suppress(RedisError, OSError):
                await self._count(delivery, is_failure=False)
        return pause

    async def _fail(self, delivery: Delivery, error: BaseException, pause: float) -> float | None:
        self._on_result("failed")
        try:
            count = await self._count(delivery, is_failure=True)
            if count is None:
                return None  # another consumer has it by now
            log("event.failed", level="warning", entry=delivery.entry_id, deliveries=count, reason=describe(error))
            if count <= self._limits.max_deliveries:
                return pause
            return await self._give_up(delivery, reason_of(error), pause, deliveries=count - 1, shown=describe(error))
        except (RedisError, OSError):
            return pause

    async def _count(self, delivery: Delivery, *, is_failure: bool) -> int | None:
        args = [self.group, self.name, delivery.entry_id, "1" if is_failure else "0"]
        count = await load_script("redeliver").run(self._redis, [delivery.stream.key], args)
        return None if count is None else int(count)

    async def _give_up(
        self, delivery: Delivery, reason: str, pause: float, *, deliveries: int, shown: str | None = None
    ) -> float | None:
        """Make a dead letter of it, or return `pause` if it is kept; `shown` is what the log says for the reason."""
        if not self._budget.spend():
            self._on_result("kept")
            return pause
        is_ours = await give_up(
            self._redis,
            self._keys,
            delivery,
            group=self.group,
            consumer=self.name,
            reason=reason,
            deliveries=deliveries,
            failed_at=to_text(time.time_ns() // 1000),
        )
        if is_ours:
            await self._deaths.forget(delivery)
            self._on_result("dead")
            stream = delivery.stream.key
            log("event.dead", level="error", entry=delivery.entry_id, stream=stream, reason=shown or reason)
        return None
