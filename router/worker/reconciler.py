"""The reconciler: compares recently active conversations with the API, for changes whose callbacks were lost.

Each worker sweeps one conversation at a time, the longest due first; a claim keeps the others off it. All workers share
one budget of API requests, spread evenly. Requests of a sweep never queue among those of events, and an account whose
API refuses or fails is paused. A change that is found is taken like an event (core/judging/recovery.py). Known gaps: a
conversation of which no event arrived is not found, nor is a classic one of an account whose service is bridged.

Beside the sweeps it confirms the conversations in which this worker published messages on trust
(core/judging/unconfirmed.py).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from router import metrics
from router.core.classic.members import is_classic
from router.core.errors import ApiError, AuthenticationError, NotFoundError, UnavailableError
from router.core.formats import OtherFormatError
from router.core.judging.recovery import QUIET, Recovery, expected_in, recover, take_closing
from router.core.ledger.marker import HOLDING_FIELD, Hearing, fields_for
from router.core.resolution.reconciliation import read_snapshot
from router.core.resources import ConversationStatus
from router.logs import describe, log
from router.streams.store.ledgers import LedgerQuery
from router.streams.store.recent import LEASE, REST
from router.worker.closings import Closings
from router.worker.requests import drive, fetch_conversation

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable

    from router.conversations.limiter import Limiter
    from router.core.judging.rules import EventRules
    from router.core.judging.unconfirmed import Unconfirmed, UnconfirmedConversation
    from router.core.ledger.ledger import Ledger
    from router.core.ledger.marker import Result
    from router.core.resolution.reconciliation import ConversationSnapshot
    from router.process.apis import Apis
    from router.streams.store.ledgers import Store
    from router.streams.store.recent import Pace, Recent, SweepClaim
    from router.worker.account_cache import AccountCache

#: Seconds until the next step if nothing was due, and after a failure.
IDLE_PAUSE: Final = 2.0
FAILURE_PAUSE: Final = 30.0
#: Partitions that one step searches at most.
PARTITIONS: Final = 64
#: Seconds for which an account is paused after its API refused or failed, and at most if the API says how long.
ACCOUNT_PAUSE: Final = 60.0
LONGEST_ACCOUNT_PAUSE: Final = 300.0
#: Seconds between two checks whether the requests of events leave capacity.
YIELD: Final = 0.2
#: Claims of paused accounts that one step puts back per partition at most, to reach those of other accounts.
PASSES: Final = 50
#: How many commits a sweep may lose to other workers before it is put off.
RACES: Final = 20


class Reconciler:
    """Sweeps for one worker; the clock is that of `rules`.

    `store`: without `recent`, since a sweep is no event. `apis`: those of the worker, whose limits the sweeps share in
    the background.
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
        unconfirmed: Unconfirmed,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._closings = Closings(store, rules)
        self._recent = recent
        self._pace = pace
        self._apis = apis.in_background(self._ask)
        self._accounts = accounts
        self._rules = rules
        self._unconfirmed = unconfirmed
        self._sleep = sleep
        self._paused_until: dict[str, int] = {}
        self._partition = 0

    async def run(self) -> None:
        """Sweep forever; a failure is logged, and the next step tries again."""
        while True:
            try:
                is_busy = await self.confirm()
                pause = 0.0 if await self.step() or is_busy else IDLE_PAUSE
            except Exception as error:  # noqa: BLE001 - the root of a task that must not end
                log("reconciler.failed", level="warning", error=describe(error))
                pause = FAILURE_PAUSE
            await self._sleep(pause)

    async def step(self) -> bool:
        """Sweep the longest due conversation of one partition; return False if none is due. Raises RedisError."""
        for _ in range(min(self._recent.partitions, PARTITIONS)):
            self._partition = (self._partition + 1) % self._recent.partitions
            for _ in range(PASSES):
                claim = await self._recent.take(self._partition)
                if claim is None:
                    break
                if (seconds := self._pause_left(claim.account_id)) > 0:
                    await self._recent.put_back(claim, seconds)
                    continue
                try:
                    await self._settle(claim)
                except OtherFormatError:  # a worker of the release that wrote it sweeps it
                    await self._recent.put_back(claim, REST)
                return True
        return False

    async def confirm(self) -> bool:
        """Confirm the longest due conversation; return False if none is due. Raises RedisError."""
        while (unsure := self._unconfirmed.take(self._rules.clock())) is not None:
            seconds = self._pause_left(unsure.account_id)
            if not seconds:
                await self._confirm(unsure)
                return True
            self._unconfirmed.put_back(unsure, self._rules.clock() + int(seconds * 1_000_000) + 1)
        return False

    async def _confirm(self, unsure: UnconfirmedConversation) -> None:
        """Ask the API about a conversation, unless its closing or later evidence that it is open is known by now."""
        query = LedgerQuery(unsure.account_id, unsure.conversation_id, (*fields_for((), ()), HOLDING_FIELD))
        (ledger,) = await self._store.read_ledgers([query])
        if ledger.is_closed:
            await self._closings.follow(ledger)
        elif ledger.open_at <= unsure.arrived_at:
            claims = await self._store.read_claims(unsure.account_id, unsure.conversation_id, unsure.names)
            if Hearing.CERTAIN not in claims:
                await self._ask_about(unsure, ledger)

    async def _ask_about(self, unsure: UnconfirmedConversation, ledger: Ledger) -> None:
        """Fetch a conversation: note that it is open, or take its closing; after a lost race, confirm it again."""
        read_at, account_id = self._rules.clock(), unsure.account_id
        service_sid = self._rules.of(account_id).classic.service_sid
        answer = await fetch_conversation(self._apis.of(account_id), unsure.conversation_id, service_sid)
        if isinstance(answer, NotFoundError):
            await self._closings.follow_gone(account_id, unsure.conversation_id)
            return
        if isinstance(answer, ApiError):
            pause = int(self._pause(account_id, answer) * 1_000_000)
            self._unconfirmed.put_back(unsure, self._rules.clock() + pause)
            return
        recovery = Recovery()
        if answer.status == ConversationStatus.CLOSED:
            recovery = take_closing(ledger, answer, read_at=read_at + self._rules.api_ahead(account_id))
        else:
            ledger.touch(read_at, open_at=read_at)
        (is_committed,) = await self._store.commit([ledger]) if ledger.has_news else (True,)
        if not is_committed:
            self._unconfirmed.put_back(unsure, self._rules.clock())
        elif ledger.is_closing:
            self._report(account_id, unsure.conversation_id, recovery)
            await self._closings.follow(ledger)

    async def _settle(self, claim: SweepClaim) -> None:
        """Sweep a claimed conversation, and store when it is due again."""
        if self._recent.is_over(claim):
            await self._end(claim, "late" if self._recent.is_late(claim) else "over")
            return
        ledger = await self._store.read_whole(claim.account_id, claim.conversation_id)
        is_bridged = is_classic(claim.conversation_id) and self._rules.of(claim.account_id).classic.is_bridged
        if ledger.is_closed:
            await self._closings.follow(ledger)  # again: whoever committed the closing may have died before it did
        if ledger.is_closed or not ledger.fields or is_bridged:
            await self._recent.forget(claim, is_final=True)
            return
        try:
            async with asyncio.timeout(LEASE / 2):
                await self._sweep(claim, ledger)
        except (ApiError, TimeoutError) as error:
            await self._put_off(claim, error)

    async def _sweep(self, claim: SweepClaim, ledger: Ledger) -> None:
        read_at = self._rules.clock() + self._rules.api_ahead(claim.account_id)  # it is compared with the API's times
        service_sid = self._rules.of(claim.account_id).classic.service_sid
        reading = read_snapshot(claim.conversation_id, expected_in(ledger), service_sid)
        snapshot = await drive(self._apis.of(claim.account_id), reading)
        if isinstance(snapshot, ApiError):
            raise snapshot
        if snapshot is None:
            await self._closings.follow_gone(claim.account_id, claim.conversation_id)
            await self._end(claim, "gone")
            return
        recovery = await self._commit(ledger, snapshot, read_at)
        if recovery is None:
            await self._recent.put_back(claim, QUIET)
        elif snapshot.is_closed and not recovery.left_alone:
            await self._end(claim, self._report(claim.account_id, claim.conversation_id, recovery))
        else:
            await self._recent.put_back(claim, QUIET if recovery.left_alone else REST)
            metrics.count("router_sweeps", self._report(claim.account_id, claim.conversation_id, recovery))

    async def _commit(self, ledger: Ledger, snapshot: ConversationSnapshot, read_at: int) -> Recovery | None:
        """Apply a snapshot and commit, again after each lost race; None if other workers keep committing first."""
        account_id, conversation_id = ledger.account_id, ledger.conversation_id
        await self._accounts.know([account_id], is_fresh=True)
        for _ in range(RACES):
            creating = await self._creating(ledger, snapshot)
            recovery = recover(
                self._rules.context(account_id, self._accounts.state(account_id)),
                snapshot,
                ledger,
                read_at=read_at,
                creating=creating,
            )
            if not ledger.has_news or (await self._store.commit([ledger]))[0]:
                if ledger.is_closing:
                    await self._closings.follow(ledger)
                return recovery
            ledger = await self._store.read_whole(account_id, conversation_id)
        return None

    async def _creating(self, ledger: Ledger, snapshot: ConversationSnapshot) -> frozenset[str]:
        """Return the ids of unknown participants that a worker may be creating now: that worker announces them."""
        unknown = [each.participant for each in snapshot.members if ledger.marker(each.participant.id) is None]
        wanted = [(ledger.account_id, [address.key for address in one.addresses]) for one in unknown]
        answers = await self._store.are_being_created(wanted)
        return frozenset(one.id for one, is_created in zip(unknown, answers, strict=True) if is_created)

    async def _end(self, claim: SweepClaim, result: str) -> None:
        await self._recent.forget(claim, is_final=result != "over")
        metrics.count("router_sweeps", result)

    async def _put_off(self, claim: SweepClaim, error: ApiError | TimeoutError) -> None:
        """Sweep again later; if the API is unavailable or refuses the credentials, pause the whole account."""
        metrics.count("router_sweeps", "failed")
        if not isinstance(error, UnavailableError | AuthenticationError):
            log("reconciler.failed", level="warning", conversation=claim.conversation_id, error=describe(error))
            await self._recent.put_back(claim, REST)
            return
        await self._recent.put_back(claim, self._pause(claim.account_id, error))

    def _pause(self, account_id: str, error: ApiError) -> float:
        """Pause an account after a failed request; return for how many seconds."""
        seconds = min(max(ACCOUNT_PAUSE, error.retry_after or 0.0), LONGEST_ACCOUNT_PAUSE)
        self._paused_until[account_id] = self._rules.clock() + int(seconds * 1_000_000)
        log("reconciler.paused", account=account_id, reason=type(error).__name__, seconds=seconds)
        return seconds

    def _pause_left(self, account_id: str) -> float:
        """Return the seconds for which an account is still paused, or 0."""
        return max(0.0, (self._paused_until.get(account_id, 0) - self._rules.clock()) / 1_000_000)

    def _report(self, account_id: str, conversation_id: str, recovery: Recovery) -> str:
        """Count and log the recovered entries; return the result of the sweep."""
        if not recovery.published:
            return "unchanged"
        for result, number in recovery.published.items():
            metrics.count("router_recovered", result, by=number)
        has_callbacks = self._accounts.state(account_id).callbacks_seen_at > 0
        log(
            "reconciler.recovered",
            level="warning" if has_callbacks else "info",
            account=account_id,
            conversation=conversation_id,
            **_counted(recovery.published),
            reason="status callbacks get lost" if has_callbacks else "no status callbacks arrive",
        )
        return "recovered"

    async def _ask(self, limiter: Limiter) -> None:
        """Wait until the account's limiter has spare capacity and the budget allows a request."""
        while True:
            while not limiter.has_spare:
                await self._sleep(YIELD)
            wait = await self._pace.take()
            if not wait:
                metrics.count("router_sweep_calls", "GET")
                return
            await self._sleep(wait)


def _counted(published: Counter[Result]) -> dict[str, int]:
    """Return the number of entries by the name of their result."""
    return {str(result): number for result, number in published.items()}
