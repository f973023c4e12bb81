"""Calls: waits until Twilio has put one into a conversation, announces its caller, and ends the stay when it is over.

A call that is in no conversation a minute after it came in is a dead letter where our answer was to put it into one:
then a configuration id, a relay or a permission is wrong, every call is affected, and nobody would notice otherwise. It
is ignored by name where the caller has hung up meanwhile, as many do before anybody answers, or where the answer puts
calls into no conversation. Known gap: where the end of a call that no begin was worked on for comes before its
conversation, a callback may still announce the caller, who then leaves when the conversation closes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.events import Version
from router.core.ledger.calls import calls_of
from router.core.ledger.fields import FieldNotReadError
from router.core.ledger.marker import Outcome, ParticipantFact, Result, fields_for
from router.core.policy import Decision
from router.core.resolution.calls import resolve_call
from router.core.resolution.requests import Resolved, Unusable, Wait
from router.streams.delivery import Later, Poison, Verdict
from router.streams.store.ledgers import LedgerQuery
from router.worker.requests import drive

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.core.events import CallReported
    from router.core.judging.rules import EventRules
    from router.core.judging.work import Work
    from router.core.keys import Target
    from router.core.ledger.ledger import Ledger
    from router.core.resolution.requests import ResolutionOutcome
    from router.core.resources import Participant
    from router.process.apis import Apis
    from router.streams.store.calls import CallRecord, CallStore
    from router.streams.store.ledgers import Store
    from router.worker.account_cache import AccountCache

#: Seconds from a call's receipt within which its conversation is waited for, and where the caller has hung up.
PATIENCE: Final = 60
PATIENCE_AFTER: Final = 15
_SECOND: Final = 1_000_000


class Calls:
    """Settles the events of calls. `take` commits what was resolved, `finish` what has an outcome (see Slow).

    `attaching` are the targets whose answer to a call puts it into a conversation.
    """

    def __init__(
        self,
        *,
        store: Store,
        apis: Apis,
        accounts: AccountCache,
        judge: EventRules,
        attaching: frozenset[Target],
        take: Callable[[Work, CallReported, Resolved], Awaitable[Verdict | None]],
        finish: Callable[[Work], Awaitable[Verdict | None]],
    ) -> None:
        self._store = store
        self._calls: CallStore = store.calls
        self._apis = apis
        self._accounts = accounts
        self._judge = judge
        self._attaching = attaching
        self._take = take
        self._finish = finish

    async def settle(self, work: Work, event: CallReported) -> Verdict | None:
        """Settle one event of a call that the policy gives to somebody; None if a race was lost."""
        record = await self._calls.read(work.account_id, event.call_sid)
        if event.is_over:
            return await self._end(work, event, record)
        return await self._begin(work, event, record)

    async def remember(self, work: Work, event: CallReported, resolved: Resolved) -> None:
        """Remember where a call has led: its next events and its end need not ask the API."""
        conversation_id, participant = resolved.conversation_id, resolved.participant
        await self._calls.note_participant(work.account_id, event.call_sid, conversation_id, participant)

    async def _begin(self, work: Work, event: CallReported, record: CallRecord) -> Verdict | None:
        if record.is_over:
            return await self._conclude(work, Result.STALE, "the call is over")
        if record.conversation_id and record.participant:
            ledger = await self._read(work, record.conversation_id, record.participant, event)
            marker = ledger.marker(record.participant.id)
            if marker is not None and marker.is_announced:
                work.ledger = ledger
                return await self._conclude(work, Result.KNOWN, "its caller is announced")
        # Whoever Twilio adds at our number from now on is our side: its callback must not announce it.
        if event.recipient is not None:
            await self._accounts.add_own(work.account_id, event.recipient)
        outcome = await self._look(work, event)
        if isinstance(outcome, Resolved):
            return await self._take(work, event, outcome)
        if isinstance(outcome, Wait) and outcome.is_usual:
            return await self._wait(work, event, outcome)
        return _setback(outcome)

    async def _wait(self, work: Work, event: CallReported, wait: Wait) -> Verdict | None:
        """Wait on, or say why not: the caller has hung up, the call was to go nowhere, or something is wrong."""
        has_ended = await self._calls.is_end_told(work.account_id, event.call_sid)
        age = self._judge.clock() - work.entry.received_at
        if age < (PATIENCE_AFTER if has_ended else PATIENCE) * _SECOND:
            return Later(wait.reason, wait.delay, is_usual=True)
        if has_ended:
            return await self._conclude(work, Result.IGNORED, "the call was over before it was in a conversation")
        if work.decision is None or work.decision.target not in self._attaching:
            return await self._conclude(work, Result.IGNORED, "the answer to the call puts it into no conversation")
        return Poison(
            f"{wait.reason}, {PATIENCE} s after it came in, though its TwiML asks for one: look at the configuration "
            "id, the relay's URL and Twilio's debugger for this call"
        )

    async def _end(self, work: Work, event: CallReported, record: CallRecord) -> Verdict | None:
        """End the caller's stay; who still looks for the conversation of this call learns that it is over."""
        await self._calls.note_end(work.account_id, event.call_sid)
        if record.conversation_id and record.participant:
            return await self._leave(work, event, record.conversation_id, record.participant)
        if not work.is_wanted:
            return await self._conclude(work, Result.IGNORED, work.decision.reason if work.decision else "no decision")
        outcome = await self._look(work, event)
        if isinstance(outcome, Resolved):
            return await self._leave(work, event, outcome.conversation_id, outcome.participant)
        if isinstance(outcome, Wait) and outcome.is_usual:
            return await self._conclude(work, Result.IGNORED, "the call was in no open conversation")
        return _setback(outcome)

    async def _leave(
        self, work: Work, event: CallReported, conversation_id: str, participant: Participant
    ) -> Verdict | None:
        fact = ParticipantFact(
            participant,
            Version(work.begun, work.begun),
            event.cause,
            Decision(None, "the call is over"),
            address=event.customer,
            recipient=event.recipient,
            call_sid=event.call_sid,
        )
        names = set(_fields(participant, event))
        while True:
            (work.ledger,) = await self._store.read_ledgers(
                [LedgerQuery(work.account_id, conversation_id, tuple(sorted(names)))]
            )
            try:
                work.outcome = work.ledger.take_call_end(fact, event.call_sid)
            except FieldNotReadError as error:
                names.add(error.name)
                continue
            work.ledger.touch(self._judge.clock())
            work.published = work.ledger.entries
            return await self._finish(work)

    async def _look(self, work: Work, event: CallReported) -> ResolutionOutcome:
        return await drive(self._apis.of(work.account_id), resolve_call(event))

    async def _read(self, work: Work, conversation_id: str, participant: Participant, event: CallReported) -> Ledger:
        query = LedgerQuery(work.account_id, conversation_id, tuple(_fields(participant, event)))
        (ledger,) = await self._store.read_ledgers([query])
        return ledger

    async def _conclude(self, work: Work, result: Result, reason: str) -> Verdict | None:
        work.outcome = Outcome(result, reason)
        return await self._finish(work)


def _fields(participant: Participant, event: CallReported) -> list[str]:
    addresses = [one.as_address() for one in participant.addresses]
    return fields_for([participant.id], addresses, (*calls_of(participant), event.call_sid))


def _setback(outcome: ResolutionOutcome) -> Verdict:
    match outcome:
        case Wait(reason, delay):
            return Later(reason, delay)
        case Unusable(reason):
            return Poison(reason)
    return Poison("a call's resolution that ends without a participant")
