"""The reconciler: looks at recently active conversations for what lost status callbacks did not tell.

In every worker, one conversation at a time, each claimed by one of them, the one that has been due for the longest
first. All workers share one budget of API calls, spread evenly; a sweep never waits in the queue of real work, and an
account whose API refuses or fails rests for REST_AFTER seconds. What is found is taken like an event (recovery.py).
Known gaps: a conversation of which no event at all has come is not looked for, and neither is a classic one of an
account whose service is bridged.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from router import metrics
from router.core.classic.members import is_classic
from router.core.errors import ApiError, AuthenticationError, UnavailableError
from router.core.judging.recovery import QUIET, Recovery, expected_in, recover
from router.core.resolution.reconciliation import look_at
from router.logs import describe, log
from router.streams.store.recent import LEASE, REST
from router.worker.requests import drive

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable

    from router.conversations.limiter import Limiter
    from router.core.judging.rules import EventRules
    from router.core.ledger.ledger import Ledger
    from router.core.ledger.marker import Result
    from router.core.resolution.reconciliation import ConversationSnapshot
    from router.process.apis import Apis
    from router.streams.store.ledgers import Store
    from router.streams.store.recent import Pace, Recent, SweepClaim
    from router.worker.account_cache import AccountCache

#: Seconds between two looks at what is due, where nothing was, and after a failure.
PAUSE: Final = 2.0
FAILURE_PAUSE: Final = 30.0
#: So many partitions are looked at in one go.
PARTITIONS: Final = 64
#: Seconds that an account rests after its API refused or failed a sweep, and at most where it says how long.
REST_AFTER: Final = 60.0
LONGEST_REST: Final = 300.0
#: Seconds between two looks whether real work leaves room.
YIELD: Final = 0.2
#: So many claims of resting accounts are put back in one go, so that they do not hide those of others.
PASSES: Final = 50
#: How often others may change a conversation under our hands before its sweep is put off.
RACES: Final = 20


class Reconciler:
    """Sweeps for one worker. `store` notes no events, since a sweep is none; the clock is that of `rules`.

    `apis` are those of real work; what is asked here goes through their limits, in the background.
    """

    def __init__(
        self,
        *,
        store: Store,
        recent: Recent,
        pace: Pace,
        apis: Apis,
        accounts: AccountCache,
        rules: EventRules,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._recent = recent
        self._pace = pace
        self._apis = apis.in_background(self._ask)
        self._accounts = accounts
        self._rules = rules
        self._sleep = sleep
        self._resting: dict[str, int] = {}
        self._partition = 0

    async def run(self) -> None:
        """Sweep for ever; a failure is logged, and the next sweep tries again."""
        while True:
            try:
                pause = 0.0 if await self.step() else PAUSE
            except Exception as error:  # noqa: BLE001 - the root of a task that must not end
                log("reconciler.failed", level="warning", error=describe(error))
                pause = FAILURE_PAUSE
            await self._sleep(pause)

    async def step(self) -> bool:
        """Sweep what has been due for the longest in one partition; False if nothing was. Raises RedisError."""
        for _ in range(min(self._recent.partitions, PARTITIONS)):
            self._partition = (self._partition + 1) % self._recent.partitions
            for _ in range(PASSES):
                claim = await self._recent.take(self._partition)
                if claim is None:
                    break
                if (seconds := self._rests_for(claim.account_id)) > 0:
                    await self._recent.put_back(claim, seconds)
                    continue
                await self._settle(claim)
                return True
        return False

    async def _settle(self, claim: SweepClaim) -> None:
        """Sweep a claimed conversation, and say when it is to be swept again."""
        if self._recent.is_over(claim):
            await self._end(claim, "late" if self._recent.is_late(claim) else "over")
            return
        ledger = await self._store.read_whole(claim.account_id, claim.conversation_id)
        is_bridged = is_classic(claim.conversation_id) and self._rules.of(claim.account_id).classic.is_bridged
        if ledger.is_closed or not ledger.fields or is_bridged:
            await self._recent.forget(claim, is_final=True)
            return
        try:
            async with asyncio.timeout(LEASE / 2):
                await self._sweep(claim, ledger)
        except (ApiError, TimeoutError) as error:
            await self._put_off(claim, error)

    async def _sweep(self, claim: SweepClaim, ledger: Ledger) -> None:
        read_at = self._rules.clock()
        service_sid = self._rules.of(claim.account_id).classic.service_sid
        steps = look_at(claim.conversation_id, expected_in(ledger), service_sid)
        sight = await drive(self._apis.of(claim.account_id), steps)
        if isinstance(sight, ApiError):
            raise sight
        if sight is None:
            await self._end(claim, "gone")
            return
        recovery = await self._commit(ledger, sight, read_at)
        if recovery is None:
            await self._recent.put_back(claim, QUIET)
        elif sight.is_closed and not recovery.left_alone:
            await self._end(claim, self._report(claim, recovery))
        else:
            await self._recent.put_back(claim, QUIET if recovery.left_alone else REST)
            metrics.count("router_sweeps", self._report(claim, recovery))

    async def _commit(self, ledger: Ledger, sight: ConversationSnapshot, read_at: int) -> Recovery | None:
        """Commit what was found, until nobody is faster; None if others go on changing the conversation."""
        account_id, conversation_id = ledger.account_id, ledger.conversation_id
        await self._accounts.know([account_id], is_fresh=True)
        for _ in range(RACES):
            creating = await self._creating(ledger, sight)
            recovery = recover(
                self._rules.context(account_id, self._accounts.state(account_id)),
                sight,
                ledger,
                read_at=read_at,
                creating=creating,
            )
            if not ledger.has_news or (await self._store.commit([ledger]))[0]:
                return recovery
            ledger = await self._store.read_whole(account_id, conversation_id)
        return None

    async def _creating(self, ledger: Ledger, sight: ConversationSnapshot) -> frozenset[str]:
        """Return the ids of newcomers whom a worker may just be creating: it knows more, and announces them."""
        people = [each.participant for each in sight.members if ledger.marker(each.participant.id) is None]
        wanted = [(ledger.account_id, [address.key for address in one.addresses]) for one in people]
        answers = await self._store.are_being_created(wanted)
        return frozenset(one.id for one, is_created in zip(people, answers, strict=True) if is_created)

    async def _end(self, claim: SweepClaim, result: str) -> None:
        await self._recent.forget(claim, is_final=result != "over")
        metrics.count("router_sweeps", result)

    async def _put_off(self, claim: SweepClaim, error: ApiError | TimeoutError) -> None:
        """Sweep again later; where it is the API that cannot, the whole account rests."""
        metrics.count("router_sweeps", "failed")
        if not isinstance(error, UnavailableError | AuthenticationError):
            log("reconciler.failed", level="warning", conversation=claim.conversation_id, error=describe(error))
            await self._recent.put_back(claim, REST)
            return
        seconds = min(max(REST_AFTER, error.retry_after or 0.0), LONGEST_REST)
        self._resting[claim.account_id] = self._rules.clock() + int(seconds * 1_000_000)
        log("reconciler.paused", account=claim.account_id, reason=type(error).__name__, seconds=seconds)
        await self._recent.put_back(claim, seconds)

    def _rests_for(self, account_id: str) -> float:
        """Return the seconds that an account rests still, 0 if it does not."""
        return max(0.0, (self._resting.get(account_id, 0) - self._rules.clock()) / 1_000_000)

    def _report(self, claim: SweepClaim, recovery: Recovery) -> str:
        """Count and log what was recovered; return the sweep's result."""
        if not recovery.published:
            return "unchanged"
        for result, number in recovery.published.items():
            metrics.count("router_recovered", result, by=number)
        has_callbacks = self._accounts.state(claim.account_id).callbacks_seen_at > 0
        log(
            "reconciler.recovered",
            level="warning" if has_callbacks else "info",
            account=claim.account_id,
            conversation=claim.conversation_id,
            **_counted(recovery.published),
            reason="callbacks get lost" if has_callbacks else "no callbacks come",
        )
        return "recovered"

    async def _ask(self, limiter: Limiter) -> None:
        """Wait until a call takes nobody's place and the budget has one; then it is made at once."""
        while True:
            while not limiter.has_spare:
                await self._sleep(YIELD)
            wait = await self._pace.take()
            if not wait:
                metrics.count("router_sweep_calls", "GET")
                return
            await self._sleep(wait)


def _counted(published: Counter[Result]) -> dict[str, int]:
    """Return how many entries of each kind, by its word."""
    return {str(result): number for result, number in published.items()}
