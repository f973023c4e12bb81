"""Attempts at one entry, and what each result means: done, again soon, parked, or given up.

An attempt that returns Later, or fails because Redis or the API is unavailable, never counts. Any other exception
counts; after `max_deliveries` of them the entry becomes a dead letter, unless the budget keeps it. Between two attempts
an entry stays in the window for STAY seconds in all; if it must wait for longer it is parked, with all entries of its
subject that queue behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from router.core.backoff import backoff
from router.core.errors import AuthenticationError, UnavailableError
from router.core.stories import StageName
from router.core.values import replace
from router.logs import describe, describe_fully, log
from router.streams.client.connection import RedisError
from router.streams.consuming.ack_groups import AckGroups
from router.streams.consuming.lanes import kept_lane
from router.streams.consuming.window import WorkResult
from router.streams.delivery import LONGEST_PAUSE, Delivery, Later, Limits, Poison, Verdict, pause_of
from router.streams.store.dead_letters import reason_of
from router.streams.store.parking import Waiting
from router.tasks import is_canceled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.streams.consuming.admission import Admission
    from router.streams.consuming.lanes import Lanes
    from router.streams.consuming.liveness import Liveness
    from router.streams.consuming.names import EntryNames
    from router.streams.consuming.parker import Parker
    from router.streams.consuming.pending import PendingEntries
    from router.streams.consuming.window import Window

#: Seconds for which an entry may pause in the window, all pauses together.
STAY: Final = 2.0
#: Seconds of the longest pause of an entry that the dead-letter budget keeps.
LONGEST_KEPT: Final = 300.0


class AttemptOutcome(Enum):
    """How an attempt at an entry ended."""

    #: Acknowledged, a dead letter, or another consumer's by now.
    ENDED = "ended"
    RETRY = "retry"


@dataclass(slots=True)
class Tries:
    """The attempts at one entry; `pause` is the time in seconds before the next one, None: back-off.

    `is_begun`: an attempt may have had an effect that the next must look for. `is_queued`: it only waits for its turn.
    `paused`: seconds that it has paused in the window so far. `is_told`: its story says that it waits.
    """

    delivery: Delivery
    count: int = 0
    pause: float | None = None
    reason: str = ""
    is_queued: bool = False
    is_begun: bool = False
    paused: float = 0.0
    is_told: bool = False


class Attempts:
    """Works on the entries of one consumer: `work` is the work of its window, which is set after both are made."""

    def __init__(
        self,
        attempt: Callable[[Delivery], Awaitable[Verdict]],
        *,
        limits: Limits,
        names: EntryNames,
        pending: PendingEntries,
        lanes: Lanes,
        parker: Parker,
        admission: Admission,
        liveness: Liveness,
        acknowledge: Callable[..., Awaitable[None]],
        on_result: Callable[[str], None],
    ) -> None:
        self._attempt = attempt
        self._limits = limits
        self._names = names
        self._pending = pending
        self._lanes = lanes
        self._parker = parker
        self._admission = admission
        self._liveness = liveness
        self._groups = AckGroups(acknowledge)
        self._on_result = on_result
        self.window: Window[Delivery]

    async def work(self, delivery: Delivery) -> WorkResult:
        """Attempt an entry until it is over here; REQUEUE if an earlier entry of its subject came in meanwhile."""
        tries = Tries(delivery, delivery.tries)
        subject, result = self._names.subject(delivery), WorkResult.FINISHED
        self._liveness.begin()
        try:
            # What names its predecessor finds out by itself, and what was brought back was the first of its subject.
            may_be_behind = b"after" not in delivery.fields and not delivery.waiting_since
            if may_be_behind and not await self._parker.park_behind([delivery]):
                return result
            while result is WorkResult.FINISHED and await self._try(tries) is AttemptOutcome.RETRY:
                pause = self._pause_of(tries)
                tries.count += 1
                if not self._may_stay(tries, pause):
                    await self._park(tries, subject, pause)
                    return result
                tries.paused += pause
                async with self.window.paused():
                    await asyncio.sleep(pause)
                if tries.is_queued and self.window.has_earlier(subject, delivery):
                    result = WorkResult.REQUEUE
        except (RedisError, OSError) as error:  # it is unknown whether it is parked: if it is not, it is a stray now
            log("parking.failed", level="warning", error=describe_fully(error))
        except Exception as error:  # noqa: BLE001 - the same; the window would let go of all that waits behind it
            log("parking.failed", level="error", error=describe(error))
        finally:
            self._liveness.end()
            if result is WorkResult.FINISHED:
                self._pending.release([delivery])
        return result

    def _pause_of(self, tries: Tries) -> float:
        if tries.pause is not None:
            return tries.pause
        longest = LONGEST_KEPT if tries.delivery.is_kept else LONGEST_PAUSE
        return backoff(self._limits.retry_delay, tries.count, ceiling=longest)

    def _may_stay(self, tries: Tries, pause: float) -> bool:
        """Return whether an entry may pause in the window: briefly, while there is room, and in a lane that is well."""
        if tries.delivery.is_kept or tries.paused + pause > STAY or self.window.room < self._limits.window:
            return False
        return tries.is_queued or not self._lanes.of(self._admission.lane_of(tries.delivery)).is_closed

    async def _park(self, tries: Tries, subject: str, pause: float) -> None:
        """Park an entry, and the entries of its subject that wait behind it."""
        is_begun = tries.is_begun or tries.delivery.is_redelivered
        first = replace(tries.delivery, is_redelivered=is_begun)
        waiting = Waiting("", tries.reason, delay=pause, tries=tries.count, since=tries.delivery.waiting_since)
        if not tries.is_told and not first.waiting_since:
            self._tell(tries, first)
        lane = self._admission.lane_of(first)
        lane = kept_lane(lane) if first.is_kept else lane
        deliveries = [first, *self.window.take_queued(subject)]
        while deliveries:  # further ones may have come while these were being parked
            self._admission.forget_rest(first)
            await self._parker.park(deliveries, waiting, lane=lane)
            deliveries = self.window.take_queued(subject)
        self._admission.forget_rest(first)

    async def _try(self, tries: Tries) -> AttemptOutcome:
        """Attempt an entry once; if even settling the result fails, it is attempted again and keeps its place."""
        try:
            return await self._try_once(tries)
        except asyncio.CancelledError:
            if is_canceled():
                raise
            tries.reason = "settling was canceled"
        except Exception as error:  # noqa: BLE001 - the entries behind it must not wait for ever, nor overtake it
            tries.reason = describe(error)
        log("event.failed", level="error", **self._names_of(tries.delivery), reason=tries.reason)
        return AttemptOutcome.RETRY

    async def _try_once(self, tries: Tries) -> AttemptOutcome:
        """Attempt an entry once and settle the result."""
        if tries.is_begun and not tries.delivery.is_redelivered:
            tries.delivery = replace(tries.delivery, is_redelivered=True)
        delivery = tries.delivery
        tries.pause, tries.is_begun, tries.is_queued = None, True, False
        try:
            return await self._settle(tries, await self._attempt(delivery))
        except (RedisError, ConnectionError, TimeoutError) as error:
            tries.reason = describe_fully(error)
            log("redis.failed", level="warning", entry=delivery.entry_id, error=tries.reason)
            return AttemptOutcome.RETRY
        except (UnavailableError, AuthenticationError) as error:
            tries.pause = error.retry_after or None
            return await self._wait(tries, describe_fully(error))
        except asyncio.CancelledError as error:
            if is_canceled():
                raise
            return await self._fail(tries, error)  # something that the attempt awaited was canceled, not this task
        except Exception as error:  # noqa: BLE001 - the composition root of an attempt: it counts, and is logged
            return await self._fail(tries, error)

    async def _settle(self, tries: Tries, verdict: Verdict) -> AttemptOutcome:
        """Carry out the verdict of an attempt."""
        delivery = tries.delivery
        if isinstance(verdict, Later):
            tries.is_queued = verdict.is_queued
            tries.is_begun = verdict.is_unsure
            tries.pause = pause_of(verdict, tries.count)
            return await self._wait(tries, verdict.reason, is_usual=verdict.is_usual)
        if isinstance(verdict, Poison):
            return await self._give_up(tries, verdict.reason, deliveries=max(tries.count + 1, delivery.crashes))
        await self._groups.acknowledge(delivery, verdict.along)
        self._lanes.note_success(self._admission.lane_of(delivery))
        return AttemptOutcome.ENDED

    async def _wait(self, tries: Tries, reason: str, *, is_usual: bool = False) -> AttemptOutcome:
        delivery = tries.delivery
        tries.reason = reason
        self._on_result("waiting")
        if not is_usual:
            self._note_failure(tries)
        if tries.count == 0 and not is_usual:
            account = self._names.account(delivery) or None
            where = {**self._names_of(delivery), "stream": delivery.stream.key, "account": account}
            log("event.waiting", level="warning", **where, reason=reason)
            self._tell(tries, delivery)
            with contextlib.suppress(RedisError, OSError):
                await self._pending.reset_count(delivery)
        return AttemptOutcome.RETRY

    def _tell(self, tries: Tries, delivery: Delivery) -> None:
        tries.is_told = True
        self._pending.tell(delivery, StageName.WAITING, f"for {self._pending.group}: {tries.reason}")

    def _names_of(self, delivery: Delivery) -> dict[str, Any]:
        """Return the fields by which log lines name an entry."""
        return {"entry": delivery.entry_id, "group": self._pending.group, **self._names.facts(delivery)}

    def _note_failure(self, tries: Tries) -> None:
        delivery = tries.delivery
        lane = self._admission.lane_of(delivery)
        self._lanes.note_failure(lane, self._names.subject(delivery), tries=tries.count)

    async def _fail(self, tries: Tries, error: BaseException) -> AttemptOutcome:
        """Count a failure; beyond `max_deliveries` the entry is given up.

        Redis counts the delivery that follows a failure; people read how many have failed.
        """
        delivery = tries.delivery
        tries.reason = describe(error)
        self._on_result("failed")
        self._note_failure(tries)
        try:
            count = await self._pending.count_failure(delivery)
            if count is None:
                return AttemptOutcome.ENDED
            names = self._names_of(delivery)
            log("event.failed", level="warning", **names, deliveries=count - 1, reason=tries.reason)
            if count <= self._limits.max_deliveries:
                return AttemptOutcome.RETRY
            return await self._give_up(tries, reason_of(error), deliveries=count - 1, shown=tries.reason)
        except (RedisError, OSError):
            return AttemptOutcome.RETRY

    async def _give_up(self, tries: Tries, reason: str, *, deliveries: int, shown: str | None = None) -> AttemptOutcome:
        self._lanes.note_given_up(self._admission.lane_of(tries.delivery))
        if await self._pending.give_up(tries.delivery, reason, deliveries=deliveries, shown=shown):
            return AttemptOutcome.ENDED
        tries.reason = shown or reason
        tries.delivery = replace(tries.delivery, is_kept=True)
        return AttemptOutcome.RETRY
