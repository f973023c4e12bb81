"""The single path: one event at a time, with requests to the Conversations API if the committed state does not suffice.

Commits are optimistic: a conversation that another worker changed between read and commit is read again.
"""

from __future__ import annotations

from enum import Enum
from operator import methodcaller
from typing import TYPE_CHECKING, Final

from router.core.addresses import is_phone
from router.core.errors import ApiError, NotFoundError, RouterError
from router.core.events import Version
from router.core.formats import OtherFormatError
from router.core.judging.resolved import resolved_fields
from router.core.ledger.communications import was_heard
from router.core.ledger.marker import HOLDING_FIELD, Outcome, Result, fields_for
from router.core.resolution.requests import Ignored, Resolved, Surroundings, Unusable, Wait
from router.core.resources import ConversationStatus
from router.core.timestamps import to_microseconds
from router.core.values import replace
from router.logs import describe_fully, log
from router.streams.delivery import Delivery, Done, Later, Poison, Verdict
from router.worker.closings import Closings
from router.worker.ledgers import read_and_apply
from router.worker.requests import drive, fetch_conversation
from router.worker.verdicts import Patience, after_failed_read, to_verdict
from router.worker.work import begin, inbound_reader, report, require_open

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.core.judging.routes import Route
    from router.core.judging.rules import EventRules
    from router.core.judging.unconfirmed import Unconfirmed
    from router.core.ledger.ledger import Ledger
    from router.core.resolution.requests import ResolutionOutcome
    from router.process.apis import Apis
    from router.streams.store.ledgers import Store
    from router.streams.store.stories import StoryWriter
    from router.worker.account_cache import AccountCache
    from router.worker.calls import CallPath
    from router.worker.work import BatchMisses, DeliveredWork

_DONE: Final = Done()
_HEARD: Final = Outcome(Result.KNOWN, "published in its conversation, which has closed since")
#: How many commits an event may lose to other workers before it waits.
RACES: Final = 20
#: Seconds of that wait.
STEP_BACK: Final = 0.5
#: Seconds of the first wait for a participant that another worker is creating, and for an earlier event that it holds.
CREATION: Final = 0.05
TURN: Final = 0.05
#: Seconds of the longest such wait: the other worker may have died, and its successor is done much sooner than the
#: doubling waits would end.
SOON: Final = 1.0
#: Seconds of the first wait for a process of another release, which reads what this one does not.
OTHER_RELEASE: Final = 2.0


class Progress(Enum):
    """The state of an event after a step without a verdict."""

    #: The committed state has changed, or more facts are known: read the committed state and judge again.
    JUDGE_AGAIN = "judge-again"


Step = Verdict | Progress


class SinglePath:
    """Settles events one by one."""

    def __init__(
        self,
        *,
        store: Store,
        apis: Apis,
        accounts: AccountCache,
        rules: EventRules,
        calls: CallPath,
        misses: BatchMisses,
        patience: Patience,
        unconfirmed: Unconfirmed,
        stories: StoryWriter | None = None,
    ) -> None:
        self._stories = stories
        self._store = store
        self._read = inbound_reader(store.sealer)
        self._closings = Closings(store, rules)
        self._apis = apis
        self._accounts = accounts
        self._rules = rules
        self._calls = calls
        self._misses = misses
        self._patience = patience
        self._unconfirmed = unconfirmed
        self._others: set[tuple[str, str]] = set()  # formats of other releases that were logged

    async def attempt(self, delivery: Delivery) -> Verdict:
        """Settle one event; on Done, its entries are committed and its log line is written.

        An event that needs data of another release waits until a process of that release takes it, and one that is
        sealed until ROUTER_SEAL_KEYS has the key.
        """
        try:
            return await self._attempt(delivery)
        except OtherFormatError as error:
            if (error.kind, error.found) not in self._others:
                self._others.add((error.kind, error.found))
                log("format.other", level="warning", entry=delivery.entry_id, reason=str(error))
            return Later(str(error), OTHER_RELEASE, is_unsure=True, is_usual=True)

    async def _attempt(self, delivery: Delivery) -> Verdict:
        if (missed := self._misses.take(delivery)) is not None:
            step = await self._resolve(missed)
            if step is not Progress.JUDGE_AGAIN:
                return step
        if await self._store.subject_order.waiting([delivery]):
            reason = "another worker has an earlier event of its subject"
            return Later(reason, TURN, is_usual=True, is_queued=True, longest=SOON)
        bodies = await self._store.shared_bodies.read([delivery])
        try:
            work = begin(self._rules, self._accounts, delivery, bodies, self._read)
        except OtherFormatError:
            raise
        except RouterError as error:
            if not self._store.sealer.has_keys:
                require_open(delivery, bodies)
            return Poison(describe_fully(error))
        is_fresh = work.kind.needs_fresh_account or self._rules.is_doubtful(work, self._accounts.state(work.account_id))
        await self._accounts.know([work.account_id], is_fresh=is_fresh)
        if work.kind.is_callback:
            self._accounts.note_callback(work.account_id)
        for _ in range(RACES):
            step = await self._try(work)
            if step is not Progress.JUDGE_AGAIN:
                await self._accounts.share_callbacks()
                return step
            work.begun = self._rules.clock()
        return Later("other workers keep changing its conversation", STEP_BACK)

    async def _try(self, work: DeliveredWork) -> Step:
        if (name := self._rules.route_name(work)) is not None:
            (work.route,) = await self._store.read_routes([(work.account_id, name)])
        if work.kind.arriving is not None:
            keys = work.kind.arriving(work.event)
            (work.is_being_created,) = await self._store.are_being_created([(work.account_id, keys)])
        work.outcome = await self._apply(work)
        if work.outcome is not None:
            return await self._finish(work)
        if work.is_being_created:
            # Its creator knows the message that led to it, and will announce it.
            return Later("its participant is being created", CREATION, is_usual=True, longest=SOON)
        if work.ledger is None or work.route is None or work.kind.apply_confirmed is None:
            return await self._resolve(work)
        return await (self._follow(work) if work.ledger.is_closed else self._confirm(work, work.route))

    async def _apply(self, work: DeliveredWork) -> Outcome | None:
        """Judge the event by the committed state."""
        needed = self._rules.needed(work)

        def apply(ledger: Ledger | None) -> Outcome | None:
            work.ledger = ledger
            return self._rules.apply(work, self._accounts.state(work.account_id))

        if needed is None:
            return apply(None)
        _, outcome = await read_and_apply(self._store, work.account_id, *needed, apply)
        return outcome

    async def _confirm(self, work: DeliveredWork, route: Route) -> Step:
        """Fetch a known conversation; if it is open, the event continues there, else the closing is committed first."""
        service_sid = self._rules.of(work.account_id).classic.service_sid
        api = self._apis.of(work.account_id)
        answer = await fetch_conversation(api, route.conversation_id, service_sid)
        if isinstance(answer, NotFoundError):
            await self._closings.follow_gone(work.account_id, route.conversation_id)
            return await self._follow(work)
        if isinstance(answer, ApiError):
            return after_failed_read(answer, "fetching the conversation", pause=STEP_BACK)
        if answer.status == ConversationStatus.CLOSED:
            # The closing's callback was lost or is late: publish the closing to the holder now.
            version, home = Version(to_microseconds(answer.updated_at) or work.begun, work.begun), route.conversation_id
            close = methodcaller("take_conversation", answer, version, work.event.cause)
            fields = (*fields_for((), ()), HOLDING_FIELD)
            closing, _ = await read_and_apply(self._store, work.account_id, home, fields, close)
            if await self._commit(closing):
                await self._closings.follow(closing)
            return Progress.JUDGE_AGAIN
        return await self._apply_confirmed(work, replace(route, confirmed_at=work.begun))

    async def _apply_confirmed(self, work: DeliveredWork, route: Route) -> Step:
        work.outcome = self._rules.apply_confirmed(work, self._accounts.state(work.account_id), route)
        if work.outcome is None:
            return await self._resolve(work)
        await self._store.write_routes([(work.account_id, str(self._rules.route_name(work)), route)])
        return await self._finish(work)

    async def _resolve(self, work: DeliveredWork) -> Step:
        """Resolve the event by the API, and commit the result."""
        kind = work.kind
        if kind.resolve is None:
            return Poison(f"{work.event.cause.event_type} cannot be resolved")
        if kind.call_sid is not None:
            return await self._resolve_call(work)
        if await self._learn_lead(work):
            return Progress.JUDGE_AGAIN
        context = self._rules.context(work.account_id, self._accounts.state(work.account_id))
        if kind.prepare is not None:
            preparation = kind.prepare(context, work)
            for address in preparation.own:
                await self._accounts.add_own(work.account_id, address)
            work.creating = preparation.creating
            for address in work.creating:
                await self._store.begin_creating(work.account_id, address)
        api = self._apis.of(work.account_id)
        return await self._end(work, await drive(api, kind.resolve(context, work)))

    async def _learn_lead(self, work: DeliveredWork) -> bool:
        """Find the address of a customer's conversations, if the event is from another one; return whether it is news.

        The policy then decides about that address. If the conversation is known to be over, a phone in the event is the
        better address for the next one.
        """
        known_at = work.kind.known_at(work.event) if work.kind.known_at is not None else ()
        is_over = work.ledger is not None and work.ledger.is_closed
        if not known_at or work.lead is not None or (is_over and is_phone(known_at[0])):
            return False
        work.lead = await self._store.persons.find_lead(work.account_id, *known_at)
        if work.lead is not None:
            work.decision = None
        return work.lead is not None

    async def _follow(self, work: DeliveredWork) -> Step:
        """Resolve an event whose known conversation has closed or is gone, unless it was published there before."""
        if await self._was_heard(work):
            work.outcome = _HEARD
            return await self._finish(work)
        return await self._resolve(work)

    async def _was_heard(self, work: DeliveredWork) -> bool:
        """Return whether a repeated event was published in the conversation of its route, before that closed.

        The worker may have died after the commit and before the XACK. A communication that was published there on trust
        but appended after the closing does not count: it is published again, in the next conversation.
        """
        if work.kind.names is None or work.ledger is None:
            return False
        names = work.kind.names(work.event)
        claims = await self._store.read_claims(work.account_id, work.ledger.conversation_id, names)
        arrived_at = work.entry.appended_at + self._rules.api_ahead(work.account_id)
        return any(was_heard(work.ledger, claim, arrived_at=arrived_at) for claim in claims)

    async def _resolve_call(self, work: DeliveredWork) -> Step:
        found = await self._calls.settle(work)
        if isinstance(found, Resolved):
            return await self._take(work, found)
        if isinstance(found, Outcome):
            work.outcome = found
            return await self._finish(work)
        return found

    async def _end(self, work: DeliveredWork, outcome: ResolutionOutcome) -> Step:
        match outcome:
            case Resolved():
                return await self._take(work, outcome)
            case Surroundings():
                work.surroundings = outcome
                return Progress.JUDGE_AGAIN
            case Ignored(reason, gone):
                if gone is not None:
                    await self._closings.follow_gone(work.account_id, gone)
                work.ledger, work.outcome = None, Outcome(Result.IGNORED, reason)
                return await self._finish(work)
            case Wait():
                return self._patience.judge(work, outcome)
            case Unusable():
                await self._store.end_creating(work.account_id, work.creating)
                return to_verdict(outcome)

    async def _take(self, work: DeliveredWork, resolved: Resolved) -> Step:
        """Commit a resolution, again after each lost race; if its conversation has closed meanwhile, start over."""
        account_id, conversation_id = work.account_id, resolved.conversation_id
        self._patience.note_found(account_id)
        # Before the commit: a successor must find the conversation, or it would open another once that has closed.
        routes = await self._remember(work, resolved)

        def apply(ledger: Ledger) -> Outcome:
            return self._rules.apply_resolved(work, self._accounts.state(account_id), resolved, ledger)

        for number in range(RACES):
            # The ledger of a new conversation is not read but taken for empty; if it is not, the commit fails.
            is_assumed = resolved.is_new and number == 0
            if is_assumed:
                ledger = self._store.make_ledger(account_id, conversation_id)
                outcome = apply(ledger)
            else:
                await self._store.write_routes(routes)
                routes = ()
                fields = resolved_fields(work, resolved)
                ledger, outcome = await read_and_apply(self._store, account_id, conversation_id, fields, apply)
            if outcome.result is Result.GONE:
                return await self._gone(work)
            if (ledger.has_news or not is_assumed) and await self._commit(ledger, routes):
                work.ledger, work.outcome, work.published = ledger, outcome, ledger.entries
                return await self._finish(work)
        return Progress.JUDGE_AGAIN

    async def _gone(self, work: DeliveredWork) -> Step:
        """End an event whose conversation closed meanwhile, or let it wait to be resolved in the next conversation."""
        if work.kind.on_gone is not None:
            work.ledger, work.outcome = None, work.kind.on_gone
            return await self._finish(work)
        if (name := self._rules.route_name(work)) is not None:
            await self._store.write_routes([(work.account_id, name, None)])
        # The API still shows the conversation as open although it was reported as closed: give it time.
        return Later("its conversation has just closed", STEP_BACK)

    async def _remember(self, work: DeliveredWork, resolved: Resolved) -> Sequence[tuple[str, str, Route]]:
        """Store the facts by which the next event of the same needs no request, except the routes, which it returns."""
        if work.kind.remember is None:
            return ()
        memory = work.kind.remember(self._rules.of(work.account_id), work, resolved)
        if memory.known_at:
            await self._store.persons.write(work.account_id, *memory.known_at)
        if memory.call_sid is not None:
            await self._calls.remember(work.account_id, memory.call_sid, resolved)
        return [] if memory.name is None or memory.route is None else [(work.account_id, memory.name, memory.route)]

    async def _finish(self, work: DeliveredWork) -> Step:
        if work.ledger is not None:
            if work.learned:
                await self._store.persons.write(work.account_id, *work.learned)
            if not await self._commit(work.ledger):
                return Progress.JUDGE_AGAIN
            if work.ledger.is_closing:
                await self._closings.follow(work.ledger)
            self._unconfirmed.note([work])
        report(work, self._rules.clock(), self._stories)
        return Done(self._store.ending_creating(work.account_id, work.creating)) if work.creating else _DONE

    async def _commit(self, ledger: Ledger, routes: Sequence[tuple[str, str, Route]] = ()) -> bool:
        """Write routes and commit a ledger's changes, if any; return False if another worker committed first."""
        if not ledger.has_news:
            return True
        (is_committed,) = await self._store.commit([ledger], routes=routes)
        return is_committed
