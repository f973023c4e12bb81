"""Applies inputs to the floor of conversations, makes the desk agree, and publishes turns that are ready.

The holder is decided in the conversation's partition, by one commit. Then the desk in partition 0 is told what the
conversation wants, and may answer with an agent, who is offered the conversation by another commit. A process that dies
in between leaves a timer, and whoever takes it goes on from there (streams.store.timers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from router.core.events import COMMANDS_SOURCE, Cause
from router.core.ledger.floor import holding_of, is_abandoned, is_of_earlier_release
from router.core.ledger.marker import HOLDING_FIELD, Claim
from router.core.ledger.turns import next_turn, publish_turns
from router.core.printable import masked_key
from router.core.routing.holding import Why
from router.core.routing.inputs import OWN_EVENTS, GetPlace, LoseCustomer, LosePlace
from router.core.routing.journal import MAX_AGENTS, show_looked_for, write_line
from router.core.routing.notices import notice_of
from router.core.routing.queues import AcceptMode
from router.core.routing.wishes import Wish, ask_if_nobody_is, customer_addresses, due_now, next_due, wish_of
from router.core.values import replace
from router.logs import log
from router.streams.store.desk import Settled
from router.streams.store.timers import TIMER_LEASE
from router.worker.notices import NOTICE_LEASE, Notices

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.ledger.ledger import Ledger
    from router.core.routing.holding import Holding
    from router.core.routing.inputs import Input
    from router.core.routing.team import Team
    from router.streams.store.desk import Desk
    from router.streams.store.ledgers import Store
    from router.streams.store.timers import Timers
    from router.worker.notices import Notify

#: How often an input is applied again because another worker committed first.
_RACES: Final = 50
#: How many agents are tried in one run; the timer goes on after that.
_TRIES: Final = 20
#: Seconds for which the id of a command is remembered.
COMMAND_LIFE: Final = 2 * 86_400
#: A revision above all others: of a conversation whose ledger is gone.
_LAST: Final = 1 << 53


class RacesLostError(Exception):
    """Other workers keep changing the conversation: try again."""


class FloorResult(NamedTuple):
    """The result of an input: `refused` or not, the epoch after it, and whether it was applied before."""

    refused: Why | None = None
    epoch: int = 0
    is_repeated: bool = False
    holding: Holding | None = None


class FloorPath:
    """The floors of all conversations. `clock` returns µs since 1970; `team` the people and queues of now.

    `notify` sends a text to a customer who waits, once by its name.
    """

    def __init__(
        self,
        *,
        store: Store,
        desk: Desk,
        timers: Timers,
        team: Callable[[], Team],
        clock: Callable[[], int],
        notify: Notify | None = None,
    ) -> None:
        self.notices = Notices(notify, timers) if notify is not None else None
        self._store = store
        self._desk = desk
        self._timers = timers
        self._team = team
        self._clock = clock

    @property
    def now(self) -> int:
        """The time in ms since 1970."""
        return self._clock() // 1000

    async def apply(
        self,
        account_id: str,
        conversation_id: str,
        decide: Callable[[Holding], Input | Why | None],
        cause: Cause,
        *,
        command_id: str | None = None,
        on_refused: Callable[[Ledger, Why], None] | None = None,
    ) -> FloorResult:
        """Apply an input once by `command_id`, and make the desk agree; `on_refused` adds the answer to the ledger.

        Raises RedisError, OtherFormatError, RacesLostError: all of it can be repeated.
        """
        for _ in range(_RACES):
            ledger, is_known = await self._read(account_id, conversation_id, command_id)
            holding = holding_of(ledger, self._team())
            if is_known:
                await self.settle(ledger, holding)
                return FloorResult(epoch=ledger.epoch, is_repeated=True, holding=holding)
            given = decide(holding) if holding is not None else Why.UNKNOWN_CONVERSATION
            refused = given if isinstance(given, Why) else None
            if holding is not None and given is not None and not isinstance(given, Why):
                step = ledger.take_floor(holding, given, cause, at=self.now)
                refused, holding = step.refused, step.holding
                if refused is not None:
                    ledger.journal.append(write_line(step, given, cause, at=self.now))
            if refused is not None:
                self._refuse(ledger, refused, on_refused)
            elif ledger.changes:
                ledger.wake_at = self.now + TIMER_LEASE
            if command_id is not None:
                _claim(ledger, command_id)
            if await self._commit(ledger):
                if refused is None:
                    await self.settle(ledger, holding)
                return FloorResult(refused, ledger.epoch, holding=holding)
        raise RacesLostError("other workers keep changing the conversation")

    async def find(self, account_id: str, conversation_id: str) -> FloorResult:
        """Return the floor of a conversation as the result of a command that was applied before."""
        ledger = await self._store.read_whole(account_id, conversation_id)
        return FloorResult(epoch=ledger.epoch, is_repeated=True, holding=holding_of(ledger, self._team()))

    def _refuse(self, ledger: Ledger, why: Why, on_refused: Callable[[Ledger, Why], None] | None) -> None:
        if on_refused is not None:
            on_refused(ledger, why)
        if is_of_earlier_release(ledger):
            ledger.wake_at = self.now  # the command is the first sign that somebody may have to be asked

    async def close(self) -> None:
        """Stop telling customers who wait something."""
        if self.notices is not None:
            await self.notices.close()

    async def look(self, account_id: str, conversation_id: str) -> None:
        """Do what is due in a conversation, then make the desk agree. Raises as `apply`."""
        for _ in range(_RACES):
            ledger = await self._store.read_whole(account_id, conversation_id)
            holding = holding_of(ledger, self._team())
            if publish_turns(ledger, self.now):
                ledger.wake_at = self.now + TIMER_LEASE
                await self._commit(ledger)
                continue
            has_floor = ledger.get(HOLDING_FIELD) is not None or is_of_earlier_release(ledger)
            if holding is not None and not has_floor:  # it has turns, and the desk never knew it
                await self._timers.set(account_id, conversation_id, ledger.revision, next_turn(ledger))
                return
            given = self._due(ledger, holding) if holding is not None else None
            if holding is None or given is None:
                await self.settle(ledger, holding)
                return
            cause = self._own_cause(given, conversation_id)
            step = ledger.take_floor(holding, given, cause, at=self.now)
            if step.refused is not None:
                await self.settle(ledger, holding)
                return
            ledger.wake_at = self.now + TIMER_LEASE
            await self._commit(ledger)

    def _due(self, ledger: Ledger, holding: Holding) -> Input | None:
        """Return the input that is due in a conversation."""
        if is_abandoned(ledger):
            return _lost(ledger, holding)
        home, reason = f"{ledger.account_id}/{ledger.conversation_id}", str(ledger.get("reason"))
        unasked = ask_if_nobody_is(holding, home, reason, self.now)
        return unasked or due_now(holding, self._team(), self.now)

    async def settle(self, ledger: Ledger, holding: Holding | None) -> None:
        """Make the desk agree with a committed floor, offer the conversation if that finds an agent, set the timer."""
        account_id, conversation_id = ledger.account_id, ledger.conversation_id
        name = f"{account_id} {conversation_id}"
        revision = _revision(ledger)
        for _ in range(_TRIES):
            if holding is None:
                await self._desk.settle(name, _LAST, Wish(is_over=True))
                await self._timers.set(account_id, conversation_id, revision, None)
                return
            holding = await self._with_last_agent(name, holding)
            answer, given = Settled(), _lost(ledger, holding)
            if given is None:
                answer = await self._ask_desk(name, revision, holding)
                given = self._answered(holding, answer)
            if answer.is_older:
                return
            if given is None:
                await self._plan(ledger, holding, answer, revision)
                return
            ledger = ledger.again()  # not read: the commit tells whether somebody has changed it
            cause = self._own_cause(given, conversation_id)
            looked_for = await self._looked_for(holding, answer)
            step = ledger.take_floor(holding, given, cause, at=self.now, **looked_for)
            if step.refused is not None:
                return
            ledger.wake_at = self.now + TIMER_LEASE
            if await self._commit(ledger):
                holding, revision = step.holding, _revision(ledger)
            else:  # changed, perhaps by what the customer said: the floor may be the same
                ledger = await self._store.read_whole(account_id, conversation_id)
                holding, revision = holding_of(ledger), ledger.revision

    async def _with_last_agent(self, name: str, holding: Holding) -> Holding:
        """Return the floor with who had this customer last: in another conversation, if nobody in this one."""
        if holding.request is None or holding.offer is not None or holding.last_agent is not None:
            return holding
        customer = customer_addresses(holding)
        last = await self._desk.last_agent(name, customer) if customer else None
        return holding if last is None else holding.changed(last_agent=last)

    async def _ask_desk(self, name: str, revision: int, holding: Holding) -> Settled:
        """Make the desk agree; somebody who is present, but no longer in the roster, gets nothing new."""
        team = self._team()
        wish = wish_of(holding, team, self.now)
        while True:
            answer = await self._desk.settle(name, revision, wish)
            need, agent = wish.need, answer.agent
            if agent is None or need is None or agent in team.members or agent in need.excluded:
                return answer
            wish = replace(wish, need=replace(need, excluded=need.excluded | {agent}))

    async def _plan(self, ledger: Ledger, holding: Holding, answer: Settled, revision: int) -> None:
        """Set the timer; tell the customer their place in line, or what the queue says once its patience is over."""
        times = (next_due(holding, self._team(), self.now, line=answer.line), next_turn(ledger))
        due = min((time for time in times if time is not None), default=None)
        notice = notice_of(holding, self._team(), line=answer.line, pace=answer.pace)
        if notice is None or self.notices is None:
            await self._timers.set(ledger.account_id, ledger.conversation_id, revision, due)
            return
        lease = self.now + NOTICE_LEASE
        first = lease if due is None else min(due, lease)
        await self._timers.set(ledger.account_id, ledger.conversation_id, revision, first)
        self.notices.tell(ledger, holding, notice, revision, due)

    def _answered(self, holding: Holding, answer: Settled) -> Input | None:
        """Return the input that an answer of the desk brings about."""
        request, offer = holding.request, holding.offer
        if answer.is_lost and offer is not None:
            return LosePlace(offer.agent)
        if answer.agent is None or request is None:
            return None
        queue = self._team().queue(request.queue)
        return GetPlace(
            request.id,
            answer.agent,
            answer.name,
            self.now,
            int(queue.ring * 1000),
            is_automatic=queue.accept is AcceptMode.AUTOMATIC,
        )

    async def _looked_for(self, holding: Holding, answer: Settled) -> dict[str, Any]:
        """Return the fields of the journal about the choice of an agent, with the others as they are now."""
        wish = wish_of(holding, self._team(), self.now)
        if wish.need is None or answer.agent is None or answer.present > MAX_AGENTS:
            return {}
        agents, _ = await self._desk.look(MAX_AGENTS)
        return show_looked_for(wish.need, wish.queue, answer.agent, agents)

    async def _read(self, account_id: str, conversation_id: str, command_id: str | None) -> tuple[Ledger, bool]:
        """Return a ledger, and whether the command was applied before."""
        if command_id is None:
            return await self._store.read_whole(account_id, conversation_id), False
        return await self._store.read_whole_and_claim(account_id, conversation_id, _command(command_id))

    async def _commit(self, ledger: Ledger) -> bool:
        if not ledger.has_news:
            return True
        (is_committed,) = await self._store.commit([ledger])
        for entry in ledger.entries if is_committed else ():
            log(
                "floor",
                type=entry.type,
                target=entry.target,
                conversation=masked_key(ledger.conversation_id),
                account=ledger.account_id,
                epoch=entry.document["data"]["epoch"],
            )
        return is_committed

    def _own_cause(self, given: Input, conversation_id: str) -> Cause:
        """Return the cause of what the router does on its own."""
        return Cause(COMMANDS_SOURCE, OWN_EVENTS[type(given)], conversation_id, "", self._clock())


def _lost(ledger: Ledger, holding: Holding) -> Input | None:
    """Return the input that ends a request for a customer who has left; None if there is none."""
    is_lost = holding.request is not None and not holding.is_closed and is_abandoned(ledger)
    return LoseCustomer(holding.request.id) if is_lost and holding.request else None


def _revision(ledger: Ledger) -> int:
    """Return the revision of a ledger after its commit, if it had one."""
    return ledger.revision + 1 if ledger.is_committed and ledger.changes else ledger.revision


def _claim(ledger: Ledger, command_id: str) -> None:
    """Publish what a command brings about once by its id. A claim leaves out one entry, so each entry has its own."""
    for number, entry in enumerate(ledger.entries):
        ledger.claims[entry.id] = Claim((_command(command_id, number),), COMMAND_LIFE)


def _command(command_id: str, number: int = 0) -> str:
    return f"command:{command_id}" + (f" {number}" if number else "")
