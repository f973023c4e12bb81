"""The slow path: one event, with as many calls and repeats as it takes.

A try reads what is committed, asks the API where that does not tell, and commits; a try that lost a race for the
conversation (somebody else committed first) is made again with what is committed by now.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from router.core.errors import (
    ApiError,
    AuthenticationError,
    NotFoundError,
    RouterError,
    UnavailableError,
    UnusableError,
)
from router.core.events import (
    CallReported,
    ClassicReported,
    CommunicationReported,
    MessageReceived,
    ParticipantReported,
    Version,
)
from router.core.judging.classic import home_name
from router.core.judging.participants import FoundEvent, resolved_fields
from router.core.judging.routes import Route
from router.core.keys import Target
from router.core.ledger.fields import FieldNotReadError
from router.core.ledger.marker import Outcome, Result, fields_for
from router.core.resolution.groups import resolve_group
from router.core.resolution.messages import MessageResolver, explore, resolve_communication
from router.core.resolution.requests import Ignored, Resolved, Surroundings, Unusable, Wait
from router.core.resources import ConversationStatus, ParticipantType
from router.core.timestamps import to_microseconds
from router.streams.delivery import Delivery, Done, Later, Poison, Verdict
from router.streams.store.ledgers import LedgerQuery
from router.worker.bridges import Classic, fetch_conversation, home_of
from router.worker.calls import Calls
from router.worker.requests import drive
from router.worker.work import BatchMisses, report

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.core.judging.rules import EventRules
    from router.core.judging.work import Work
    from router.core.ledger.ledger import Ledger
    from router.core.resolution.requests import ResolutionOutcome
    from router.process.apis import Api, Apis
    from router.streams.store.ledgers import Store
    from router.worker.account_cache import AccountCache

#: How often an event may lose the race for a conversation before it steps back for a moment.
RACES: Final = 20
#: Seconds to step back after that, and to wait for an operator to mend credentials.
STEP_BACK: Final = 0.5
#: Seconds to wait first for a participant that another worker is creating, and for an earlier event that it has.
CREATION: Final = 0.05
TURN: Final = 0.05
#: Seconds to wait at most then: the other may have died of it, and its successor is done long before the pauses would
#: have doubled up to that.
SOON: Final = 1.0
OPERATOR: Final = 30.0
#: A lost race: read again.
AGAIN: Final = None


class SinglePath:
    """Settles events one by one."""

    def __init__(
        self,
        *,
        store: Store,
        apis: Apis,
        accounts: AccountCache,
        judge: EventRules,
        classic: Classic,
        attaching: frozenset[Target],
        newcomers: BatchMisses,
    ) -> None:
        self._newcomers = newcomers
        self._store = store
        self._apis = apis
        self._accounts = accounts
        self._judge = judge
        self._classic = classic
        self._calls = Calls(
            store=store,
            apis=apis,
            accounts=accounts,
            judge=judge,
            attaching=attaching,
            take=self._take,
            finish=self._finish,
        )

    async def attempt(self, delivery: Delivery) -> Verdict:
        """Settle one event; when this returns Done, its entries are committed and its log line is written."""
        if (newcomer := self._newcomers.take(delivery)) is not None:
            verdict = await self._resolve(newcomer)
            if verdict is not AGAIN:
                return verdict
        if await self._store.turns.waiting([delivery]):
            reason = "another worker has an earlier event of its subject"
            return Later(reason, TURN, is_usual=True, is_queued=True, longest=SOON)
        try:
            work = self._judge.begin(delivery)
        except RouterError as error:
            return Poison(f"{type(error).__name__}: {error}")
        is_fresh = isinstance(work.event, CommunicationReported) or self._judge.is_doubtful(work)
        await self._accounts.know([work.account_id], is_fresh=is_fresh)
        for _ in range(RACES):
            verdict = await self._try(work)
            if verdict is not AGAIN:
                await self._accounts.share_callbacks()
                return verdict
            work.begun = self._judge.clock()
        return Later("others change its conversation all the time", STEP_BACK)

    async def _try(self, work: Work) -> Verdict | None:
        if (name := self._judge.route_name(work)) is not None:
            (work.route,) = await self._store.read_routes([(work.account_id, name)])
        if isinstance(work.event, ParticipantReported):
            keys = [address.key for address in work.event.participant.addresses]
            (work.is_being_created,) = await self._store.are_being_created([(work.account_id, keys)])
        work.outcome = await self._apply(work)
        if work.outcome is not None:
            return await self._finish(work)
        if work.is_being_created:
            # Whoever creates it knows which message it came from, and will announce it.
            return Later("its participant is being created", CREATION, is_usual=True, longest=SOON)
        is_message = isinstance(work.event, MessageReceived)
        if is_message and work.route is not None and work.ledger is not None and not work.ledger.is_closed:
            return await self._confirm(work, work.route, work.ledger)
        return await self._resolve(work)

    def _client(self, work: Work) -> Api:
        return self._apis.of(work.account_id)

    async def _apply(self, work: Work) -> Outcome | None:
        """Judge by what is committed, reading more fields of the ledger as often as one turns out to be missing."""
        needed = self._judge.needed(work)
        if needed is None:
            work.ledger = None
            return self._judge.apply(work)
        names = dict.fromkeys(needed[1])
        while True:
            work.ledger = await self._read(work, needed[0], names)
            try:
                return self._judge.apply(work)
            except FieldNotReadError as error:
                names[error.name] = None

    async def _read(self, work: Work, conversation_id: str, names: Iterable[str]) -> Ledger:
        (ledger,) = await self._store.read_ledgers([LedgerQuery(work.account_id, conversation_id, tuple(names))])
        return ledger

    async def _confirm(self, work: Work, route: Route, ledger: Ledger) -> Verdict | None:
        """See whether a known conversation is still open; what has closed is committed as closed, and replaced."""
        service_sid = self._classic.resolver(work.account_id).service_sid
        answer = await fetch_conversation(self._client(work), route.conversation_id, service_sid)
        if isinstance(answer, ApiError) and not isinstance(answer, NotFoundError):
            return _setback(answer)
        event = work.event
        if isinstance(answer, NotFoundError) or not isinstance(event, MessageReceived):
            return await self._resolve(work)
        if answer.status == ConversationStatus.CLOSED:
            # Its callback was lost or is late: the holder learns of it here.
            closing = await self._read(work, route.conversation_id, fields_for((), ()))
            version = Version(to_microseconds(answer.updated_at) or work.begun, work.begun)
            closing.take_conversation(answer, version, event.cause)
            return await self._resolve(work) if await self._commit(closing) else AGAIN
        if ledger.announced_at(event.customer) is None:
            return await self._resolve(work)
        fresh = replace(route, confirmed_at=work.begun)
        await self._store.write_routes([(work.account_id, self._judge.pair(event), fresh)])
        work.outcome = self._judge.apply_open(work, event, fresh, ledger)
        work.published = ledger.entries
        return await self._resolve(work) if work.outcome is None else await self._finish(work)

    async def _resolve(self, work: Work) -> Verdict | None:
        """Ask the API for the participant, and commit what it says."""
        event = work.event
        if isinstance(event, ParticipantReported):
            return await self._explore(work, event)
        if isinstance(event, CallReported):
            return await self._calls.settle(work, event)
        if isinstance(event, CommunicationReported):
            return await self._end(work, event, await drive(self._client(work), resolve_communication(event)))
        if isinstance(event, ClassicReported):
            if event.recipient is not None:  # v2 may have it as somebody UNKNOWN
                await self._accounts.add_own(work.account_id, event.recipient)
            classic = self._classic.resolver(work.account_id)
            steps = classic.resolve(event, home=home_of(work), age=self._age(work))
            return await self._end(work, event, await drive(self._client(work), steps))
        if not isinstance(event, MessageReceived):
            return Poison(f"{work.event.cause.event_type} cannot be resolved")
        await self._accounts.add_own(work.account_id, event.recipient)
        members = self._judge.members(work, event)
        for address in (event.customer, *members):
            await self._store.begin_creating(work.account_id, address)
        is_ai = self._judge.decide(work, event).target is Target.AI_AGENT
        our_type = ParticipantType.AI_AGENT if is_ai else ParticipantType.AGENT
        resolver = MessageResolver(self._judge.configuration_of(work.account_id), our_type)
        is_unsure = work.delivery.is_redelivered
        resolution = resolve_group(resolver, event, members, is_unsure=is_unsure)
        if self._classic.is_lookup:
            resolution = self._classic.resolver(work.account_id).enter(event, resolution, age=self._age(work))
        return await self._end(work, event, await drive(self._client(work), resolution))

    def _age(self, work: Work) -> float:
        """Return how long ago an event was received, in seconds."""
        return (self._judge.clock() - work.entry.received_at) / 1_000_000

    async def _end(self, work: Work, event: FoundEvent, outcome: ResolutionOutcome) -> Verdict | None:
        match outcome:
            case Resolved():
                return await self._take(work, event, outcome)
            case Wait(reason, delay, is_unsure):
                return Later(reason, delay, is_unsure=is_unsure)
            case Ignored(reason):
                work.ledger, work.outcome = None, Outcome(Result.IGNORED, reason)
                return await self._finish(work)
            case Unusable(reason, is_certain):
                await self._end_creating(work)
                if not is_certain:
                    raise UnusableError(reason)
                return Poison(reason)
        return Poison("a resolution that ends without a participant")

    async def _explore(self, work: Work, event: ParticipantReported) -> Verdict | None:
        """Ask for what the policy wants to know of a participant's conversation, then judge once more."""
        outcome = await drive(self._client(work), explore(event.participant.conversation_id))
        match outcome:
            case Wait(reason, delay):
                return Later(reason, delay)
            case Unusable(reason):
                return Poison(reason)
            case Surroundings():
                work.surroundings = outcome
        return AGAIN

    async def _end_creating(self, work: Work) -> None:
        if isinstance(work.event, MessageReceived):
            addresses = (work.event.customer, *self._judge.members(work, work.event))
            await self._store.end_creating(work.account_id, addresses)

    async def _take(self, work: Work, event: FoundEvent, resolved: Resolved) -> Verdict | None:
        """Commit what was resolved, until nobody is faster; if its conversation has closed meanwhile, begin anew."""
        names: dict[str, None] = {}
        for number in range(RACES):
            # Of a new conversation nothing is read, since nothing is there; if there is, the commit fails.
            is_guessed = resolved.is_new and number == 0
            if is_guessed:
                ledger = self._store.make_ledger(work.account_id, resolved.conversation_id)
            else:
                names = names or dict.fromkeys(resolved_fields(resolved, event))
                ledger = await self._read(work, resolved.conversation_id, names)
            try:
                outcome = self._judge.apply_resolved(work, event, resolved, ledger)
            except FieldNotReadError as error:
                names[error.name] = None
                continue
            if outcome.result is Result.GONE:
                return await self._gone(work, event)
            if (ledger.has_news or not is_guessed) and await self._commit(ledger):
                work.ledger, work.outcome, work.published = ledger, outcome, ledger.entries
                await self._remember(work, event, resolved)
                return await self._finish(work)
        return AGAIN

    async def _gone(self, work: Work, event: FoundEvent) -> Verdict | None:
        if isinstance(event, CommunicationReported | ClassicReported):
            work.ledger, work.outcome = None, Outcome(Result.STALE, "the conversation is closed")
            return await self._finish(work)
        if isinstance(event, MessageReceived):
            await self._store.write_routes([(work.account_id, self._judge.pair(event), None)])
        # The API still knows as open what was announced as closed: give it a moment to agree.
        return Later("its conversation has just closed", STEP_BACK)

    async def _remember(self, work: Work, event: FoundEvent, resolved: Resolved) -> None:
        """Remember where messages of this pair of addresses go, those of a call, or of a classic conversation."""
        if isinstance(event, CallReported):
            await self._calls.remember(work, event, resolved)
        if isinstance(event, ClassicReported) and self._classic.is_bridged(work.account_id):
            home = Route(resolved.conversation_id, resolved.participant.id, "", work.begun)
            await self._store.write_routes([(work.account_id, home_name(event), home)])
        if isinstance(event, MessageReceived):
            participant = resolved.participant
            kind = participant.type or ParticipantType.UNKNOWN
            route = Route(resolved.conversation_id, participant.id, kind, work.begun)
            created = (event.customer, *self._judge.members(work, event))
            await self._store.end_creating(work.account_id, created, pair=self._judge.pair(event), route=route)

    async def _finish(self, work: Work) -> Verdict | None:
        if work.ledger is not None and not await self._commit(work.ledger):
            return AGAIN
        report(work)
        return Done()

    async def _commit(self, ledger: Ledger) -> bool:
        """Commit a ledger if there is something to commit; False if somebody else was faster."""
        if not ledger.has_news:
            return True
        (is_committed,) = await self._store.commit([ledger])
        return is_committed


def _setback(error: ApiError) -> Verdict:
    """Decide what an error of a read means: it makes the event wait unless the request itself is wrong."""
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, UnavailableError):
        return Later(reason, error.retry_after or STEP_BACK)
    return Later(reason, OPERATOR) if isinstance(error, AuthenticationError) else Poison(reason)
