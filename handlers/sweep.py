"""The sweep: does in the background what no entry triggers, in every process of the human agents.

It assigns waiting conversations, lets their people join, finishes joins that a crash interrupted, and asks the API from
time to time whether assigned conversations are still open, so that a lost status callback does not keep a person busy
for ever. It runs when it is woken and every INTERVAL seconds. Concurrent sweeps share the work, and what both do has
its effect once. Accounts are swept independently: an account whose API is unavailable or hangs delays no other, and
its joins are due again after their lease.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from handlers.joins import JoinOutcome, JoinRequest, JoinResult
from router.core.errors import ApiError, AuthenticationError, UnavailableError
from router.core.resources import ParticipantType
from router.logs import describe, log
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from handlers.assignments import AssignmentRecord, Assignments
    from handlers.joiners import Joiner, Joiners
    from handlers.roster import AssignedAgent

#: Seconds between two sweeps, unless one is woken.
INTERVAL: Final = 5.0
#: The most conversations that are claimed at once.
BATCH: Final = 20
#: Seconds after which the API is asked again whether an assigned conversation is open.
CONFIRM_AFTER: Final = 600


async def join_person(joiner: Joiner, agent: AssignedAgent, conversation: str, channel: str) -> JoinResult:
    """Let a person join at their address on the channel, or under their identity if that address is taken."""
    result = JoinResult(how=JoinOutcome.NO_ADDRESS)
    for address in agent.addresses_on(channel):
        result = await joiner.join(conversation, JoinRequest(ParticipantType.HUMAN_AGENT, address, agent.name))
        if result.how is not JoinOutcome.TAKEN:
            break
    return result


class Sweeper:
    """`interval` and `confirm_after` are in seconds."""

    def __init__(
        self,
        *,
        assignments: Assignments,
        joiners: Joiners,
        interval: float = INTERVAL,
        confirm_after: int = CONFIRM_AFTER,
    ) -> None:
        self._assignments = assignments
        self._joiners = joiners
        self._interval = interval
        self._confirm_after = confirm_after
        self._woken = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Start the next sweep now."""
        self._woken.set()

    async def run(self) -> None:
        """Sweep until canceled; raises what `sweep` raises."""
        try:
            while True:
                self._woken.clear()
                await self.sweep()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._interval):
                        await self._woken.wait()
        finally:
            await end(*self._running.values())

    async def sweep(self) -> None:
        """Do all that is due; wait at most the interval for an account whose API hangs. Raises RedisError."""
        await self._assignments.assign_waiting()
        while due := await self._assignments.claim_pending_joins(BATCH):
            await self._for_each(self._join, due)
        await self._for_each(self._confirm, await self._assignments.claim_unconfirmed(BATCH, self._confirm_after))

    async def _for_each(
        self, act: Callable[[AssignmentRecord], Awaitable[None]], records: Iterable[AssignmentRecord]
    ) -> None:
        """Act on records, with a task for each account; an account whose last task still runs is skipped."""
        by_account: dict[str, list[AssignmentRecord]] = {}
        for record in records:
            by_account.setdefault(record.account, []).append(record)
        started = {
            account: asyncio.create_task(self._act_in_turn(act, of_account), name=f"sweep {account}")
            for account, of_account in by_account.items()
            if account not in self._running
        }
        self._running |= started
        if started:
            await asyncio.wait(started.values(), timeout=self._interval)
        for account, task in [*self._running.items()]:
            if task.done():
                del self._running[account]
                task.result()

    async def _act_in_turn(
        self, act: Callable[[AssignmentRecord], Awaitable[None]], records: list[AssignmentRecord]
    ) -> None:
        """Act on the records of one account; an API that is unavailable for one of them ends the turn."""
        for record in records:
            try:
                await act(record)
            except (UnavailableError, AuthenticationError) as error:
                log("roster.failed", level="warning", **_names(record), error=describe(error))
                return

    async def _confirm(self, record: AssignmentRecord) -> None:
        """Free the person of a conversation that has closed without an entry."""
        ending = await self._joiners.of(record.account, record.conversation).find_ending(record.conversation)
        if ending is not None:
            await self._release(record, "it had closed, and no entry said so", is_gone=ending is JoinOutcome.GONE)

    async def _join(self, record: AssignmentRecord) -> None:
        """Let the assigned person join on every channel of the customers; a refusal is retried after the lease."""
        agent = record.assigned_agent
        if agent is None:
            return
        outcomes = set()
        for channel in sorted(set(record.customers.values())):
            try:
                joiner = self._joiners.of(record.account, record.conversation)
                joined = await join_person(joiner, agent, record.conversation, channel)
            except (UnavailableError, AuthenticationError):
                raise
            except ApiError as error:
                log("roster.failed", level="warning", **_names(record), error=describe(error))
                return
            outcomes.add(joined.how)
        if outcomes & {JoinOutcome.CLOSED, JoinOutcome.GONE}:
            is_gone = JoinOutcome.GONE in outcomes
            await self._release(record, "it closed before its person joined", is_gone=is_gone)
            return
        await self._assignments.mark_joined(record.account, record.conversation, agent.identity)
        log("roster.assigned", **_names(record), result=",".join(sorted(outcomes)))

    async def _release(self, record: AssignmentRecord, reason: str, *, is_gone: bool) -> None:
        if is_gone:
            await self._joiners.forget(record.account, record.conversation)
        if (await self._assignments.close(record.account, record.conversation)).newly_assigned:
            self.wake()
        log("roster.released", **_names(record), reason=reason)


def _names(record: AssignmentRecord) -> dict[str, Any]:
    """Return the fields of every log line about a record."""
    return {"conversation": record.conversation, "agent": record.agent}
