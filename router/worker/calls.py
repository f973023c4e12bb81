"""Calls: waits until Twilio has attached a call to a conversation, and ends the caller's stay when it is over.

A call that is in no conversation a minute after it came in becomes a dead letter if our answer asked for one: a
configuration id, a relay or a permission is wrong then, every call is affected, and there would be no other sign of it.
It is ignored, with the reason, if the caller has hung up meanwhile, as many do before an answer, or if the answer does
not attach calls. Known gap: if a call ends before its conversation exists and its begin was never processed, a callback
may still announce the caller, who then leaves when the conversation closes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.events import Version
from router.core.ledger.calls import calls_of
from router.core.ledger.marker import Outcome, ParticipantFact, Result, fields_for
from router.core.policy import Decision
from router.core.resolution.calls import resolve_call
from router.core.resolution.requests import Resolved, Unusable, Wait
from router.streams.delivery import Poison, Verdict
from router.streams.store.ledgers import LedgerQuery
from router.worker.ledgers import read_and_apply
from router.worker.requests import drive
from router.worker.verdicts import to_verdict

if TYPE_CHECKING:
    from router.core.events import CallReported
    from router.core.judging.rules import EventRules
    from router.core.judging.work import AnyWork
    from router.core.keys import Target
    from router.core.ledger.ledger import Ledger
    from router.core.resolution.requests import ResolutionOutcome
    from router.core.resources import Participant
    from router.process.apis import Apis
    from router.streams.store.calls import CallRecord
    from router.streams.store.ledgers import Store
    from router.worker.account_cache import AccountCache
    from router.worker.verdicts import Patience

#: Seconds from a call's append for which its conversation is awaited, and the same once the caller has hung up.
PATIENCE: Final = 60
PATIENCE_AFTER: Final = 15

#: The result of a call's event: its participant, its outcome, or a verdict if it must wait or is unusable.
Finding = Resolved | Outcome | Verdict


class CallPath:
    """Settles events of calls, up to the commit, which is the single path's part.

    `attaching`: the targets whose answer attaches a call to a conversation.
    """

    def __init__(
        self,
        *,
        store: Store,
        apis: Apis,
        accounts: AccountCache,
        rules: EventRules,
        attaching: frozenset[Target],
        patience: Patience,
    ) -> None:
        self._store = store
        self._patience = patience
        self._calls = store.calls
        self._apis = apis
        self._accounts = accounts
        self._rules = rules
        self._attaching = attaching

    async def settle(self, work: AnyWork) -> Finding:
        """Return the result of a call's event: of a call with a target, or of any call's end."""
        event: CallReported = work.event
        record = await self._calls.read(work.account_id, event.call_sid)
        if event.is_over:
            return await self._end(work, event, record)
        return await self._begin(work, event, record)

    async def remember(self, account_id: str, call_sid: str, resolved: Resolved) -> None:
        """Store the conversation and participant of a call, so that its further events and its end need no request."""
        await self._calls.note_participant(account_id, call_sid, resolved.conversation_id, resolved.participant)

    async def _begin(self, work: AnyWork, event: CallReported, record: CallRecord) -> Finding:
        if record.is_over:
            return Outcome(Result.STALE, "the call is over")
        if record.conversation_id and record.participant:
            ledger = await self._read(work, record.conversation_id, record.participant, event)
            marker = ledger.marker(record.participant.id)
            if marker is not None and marker.is_announced and not await self._goes_on(work, event, ledger):
                if event.handoff is not None and not ledger.is_closed:
                    return Resolved(record.conversation_id, record.participant, "found")
                if event.handoff is None or _was_open(work, ledger):
                    work.ledger = ledger
                    return Outcome(Result.KNOWN, "its caller is announced")
        # A participant that Twilio adds at our number from now on is our side: its callback must not announce it.
        if event.recipient is not None:
            await self._accounts.add_own(work.account_id, event.recipient)
        outcome = await self._find(work, event)
        if isinstance(outcome, Wait) and outcome.is_usual:
            return await self._wait(work, event, outcome)
        return self._finding(work, outcome)

    async def _goes_on(self, work: AnyWork, event: CallReported, ledger: Ledger) -> bool:
        """Return whether the call's conversation closed during the call, and the call is in the next one by now."""
        if _was_open(work, ledger):
            return False
        return isinstance(await self._find(work, event), Resolved)

    async def _wait(self, work: AnyWork, event: CallReported, wait: Wait) -> Finding:
        """Wait again, unless the caller has hung up, no conversation was asked for, or the wait is too long."""
        has_ended = await self._calls.is_end_received(work.account_id, event.call_sid)
        if work.age(self._rules.clock()) < (PATIENCE_AFTER if has_ended else PATIENCE):
            return to_verdict(wait)
        if has_ended:
            return Outcome(Result.IGNORED, "the call was over before it was in a conversation")
        if work.decision is None or work.decision.target not in self._attaching:
            return Outcome(Result.IGNORED, "the answer to the call attaches it to no conversation")
        return Poison(
            f"{wait.reason}, {PATIENCE} s after it came in, though its TwiML asks for one: check the configuration id, "
            "the relay's URL and Twilio's debugger for this call"
        )

    async def _end(self, work: AnyWork, event: CallReported, record: CallRecord) -> Finding:
        """End the caller's stay, and note the end for events that still wait for the call's conversation."""
        await self._calls.note_end(work.account_id, event.call_sid)
        known: Outcome | None = None
        if record.conversation_id and record.participant:
            known = await self._leave(work, event, record.conversation_id, record.participant)
            if known.result is not Result.STALE:
                return known
            # The conversation closed during the call; Twilio then puts the call into the next one.
        if not work.is_wanted:
            return known or Outcome(Result.IGNORED, work.decision.reason if work.decision else "no decision")
        outcome = await self._find(work, event)
        if isinstance(outcome, Resolved):
            return await self._leave(work, event, outcome.conversation_id, outcome.participant)
        if isinstance(outcome, Wait) and outcome.is_usual:
            return known or Outcome(Result.IGNORED, "the call was in no open conversation")
        return self._finding(work, outcome)

    async def _leave(
        self, work: AnyWork, event: CallReported, conversation_id: str, participant: Participant
    ) -> Outcome:
        fact = ParticipantFact(
            participant,
            Version(work.begun, work.begun),
            event.cause,
            Decision(None, "the call is over"),
            address=event.customer,
            recipient=event.recipient,
            call_sid=event.call_sid,
        )
        fields = _fields(participant, event)
        work.ledger, outcome = await read_and_apply(
            self._store,
            work.account_id,
            conversation_id,
            fields,
            lambda ledger: ledger.take_call_end(fact, event.call_sid),
        )
        work.ledger.touch(self._rules.clock())
        work.published = work.ledger.entries
        return outcome

    async def _find(self, work: AnyWork, event: CallReported) -> ResolutionOutcome:
        return await drive(self._apis.of(work.account_id), resolve_call(event))

    async def _read(self, work: AnyWork, conversation_id: str, participant: Participant, event: CallReported) -> Ledger:
        query = LedgerQuery(work.account_id, conversation_id, tuple(_fields(participant, event)))
        (ledger,) = await self._store.read_ledgers([query])
        return ledger

    def _finding(self, work: AnyWork, outcome: ResolutionOutcome) -> Finding:
        if isinstance(outcome, Resolved):
            return outcome
        if isinstance(outcome, Wait):
            return self._patience.judge(work, outcome)
        if isinstance(outcome, Unusable):
            return to_verdict(outcome)
        raise TypeError(f"the resolution of a call returned {type(outcome).__name__}")


def _was_open(work: AnyWork, ledger: Ledger) -> bool:
    """Return whether a conversation was open when the event came in, as far as is known."""
    closed_at = ledger.closed_at
    return closed_at is None or work.entry.appended_at < closed_at


def _fields(participant: Participant, event: CallReported) -> list[str]:
    addresses = [one.as_address() for one in participant.addresses]
    return fields_for([participant.id], addresses, (*calls_of(participant), event.call_sid))
