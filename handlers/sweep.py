"""The sweep: finishes what entries do not finish themselves, in every process of the human agents.

It gives freed places to who waits, lets their person join, takes over joinings that a crash left behind, and asks the
API now and then whether assigned conversations are still open, because a lost status callback must not keep a person
busy for ever. It runs when it is woken and every PAUSE seconds. Two sweeps at once share the work, and what both do
is done once. Each account is swept on its own: one whose API is away or hangs holds up no other, and what was to be
done in it is due again after its lease.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from handlers.seats import How, Joined, Seat
from router.core.errors import ApiError, AuthenticationError, UnavailableError
from router.core.resources import ParticipantType
from router.logs import describe, log
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from handlers.assignments import Assignments, Record
    from handlers.joiners import Joiners
    from handlers.joining import Joiner
    from handlers.roster import Card

#: Seconds between two sweeps that nobody asked for.
PAUSE: Final = 5.0
#: So many conversations are taken at once.
BATCH: Final = 20
#: Seconds after which an assigned conversation is asked for once more.
AUDIT: Final = 600


async def seat_person(joiner: Joiner, card: Card, account: str, conversation: str, channel: str) -> Joined:
    """Let a person join: at their address on the channel, or, if somebody else sits there, under their identity."""
    joined = Joined(how=How.NO_ADDRESS)
    for address in card.seats(channel):
        joined = await joiner.join(account, conversation, Seat(ParticipantType.HUMAN_AGENT, address, card.name))
        if joined.how is not How.TAKEN:
            break
    return joined


class Sweeper:
    """`pause` and `audit` are in seconds."""

    def __init__(
        self,
        *,
        books: Assignments,
        joiners: Joiners,
        pause: float = PAUSE,
        audit: int = AUDIT,
    ) -> None:
        self._books = books
        self._joiners = joiners
        self._pause = pause
        self._audit = audit
        self._woken = asyncio.Event()
        self._lanes: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Ask for a sweep now."""
        self._woken.set()

    async def run(self) -> None:
        """Sweep for ever; raises what `sweep` raises."""
        try:
            while True:
                self._woken.clear()
                await self.sweep()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause):
                        await self._woken.wait()
        finally:
            await end(*self._lanes.values())

    async def sweep(self) -> None:
        """Do once what there is to do, without waiting long for an account whose API hangs. Raises RedisError."""
        await self._books.place()
        while due := await self._books.take_due(BATCH):
            await self._do(self._seat, due)
        await self._do(self._confirm, await self._books.take_stale(BATCH, self._audit))

    async def _do(self, act: Callable[[Record], Awaitable[None]], records: Iterable[Record]) -> None:
        """Act on records, all accounts at once; those of an account that is still at its last ones are left out."""
        theirs: dict[str, list[Record]] = {}
        for record in records:
            theirs.setdefault(record.account, []).append(record)
        begun = {
            account: asyncio.create_task(self._act_on(act, of_one), name=f"sweep {account}")
            for account, of_one in theirs.items()
            if account not in self._lanes
        }
        self._lanes |= begun
        if begun:
            await asyncio.wait(begun.values(), timeout=self._pause)
        for account, task in [*self._lanes.items()]:
            if task.done():
                del self._lanes[account]
                task.result()

    async def _act_on(self, act: Callable[[Record], Awaitable[None]], records: list[Record]) -> None:
        """Act on records of one account in turn, until its API turns out to be of no use to any of them."""
        for record in records:
            try:
                await act(record)
            except (UnavailableError, AuthenticationError) as error:
                log("roster.failed", level="warning", **_names(record), error=describe(error))
                return

    async def _confirm(self, record: Record) -> None:
        """Free the agent of a conversation that has closed without our hearing of it."""
        if await self._joiners.of(record.account).ending(record.conversation) is not None:
            await self._release(record, "it had closed unnoticed")

    async def _seat(self, record: Record) -> None:
        """Let the assigned agent join on every channel of the customers; a refusal is tried again after the lease."""
        card = record.who
        if card is None:
            return
        hows = set()
        for channel in sorted(set(record.customers.values())):
            try:
                joiner = self._joiners.of(record.account)
                joined = await seat_person(joiner, card, record.account, record.conversation, channel)
            except (UnavailableError, AuthenticationError):
                raise
            except ApiError as error:
                log("roster.failed", level="warning", **_names(record), error=describe(error))
                return
            hows.add(joined.how)
        if hows & {How.CLOSED, How.GONE}:
            await self._release(record, "it closed before its agent came")
            return
        await self._books.settle(record.account, record.conversation, card.identity)
        log("roster.assigned", **_names(record), result=",".join(sorted(hows)))

    async def _release(self, record: Record, reason: str) -> None:
        if (await self._books.close(record.account, record.conversation)).placed:
            self.wake()
        log("roster.released", **_names(record), reason=reason)


def _names(record: Record) -> dict[str, Any]:
    """Return what every line about a record says."""
    return {"conversation": record.conversation, "agent": record.agent}
