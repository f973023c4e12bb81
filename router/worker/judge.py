"""Judges events by what is committed; shared by the quick and the slow path, and free of I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.events import CallReported, Change, ClassicReported, Disregarded, MessageReceived, ParticipantReported
from router.core.marker import Outcome, Result, fields_for
from router.core.participants import ParticipantType
from router.inbound.sources import normalize
from router.streams.store import pair_of
from router.worker.apply import Context, LedgerEvent, apply_event, decide_message, ledger_fields
from router.worker.classic import Classic, apply_classic, classic_fields, home_name, is_chat
from router.worker.work import Work, read_inbound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router.core.ledger import Ledger
    from router.core.policy import Policy
    from router.streams.delivery import Delivery
    from router.streams.store import Route
    from router.worker.accounts import Accounts


class Judge:
    """`route_ttl` is in seconds, `clock` gives µs since 1970; `configurations` has one for each account.

    `classic` knows the accounts' classic conversations; without it nothing is bridged.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        accounts: Accounts,
        configurations: Mapping[str, str],
        route_ttl: float,
        clock: Callable[[], int],
        classic: Classic | None = None,
    ) -> None:
        self._configurations = configurations
        self.clock = clock
        self._policy = policy
        self._accounts = accounts
        self._classic = classic or Classic((), {})
        self._route_ttl = int(route_ttl * 1_000_000)

    def begin(self, delivery: Delivery) -> Work:
        """Return the work of a delivery; raises UnreadableError or UnusableError if it can never be done."""
        entry = read_inbound(delivery)
        work = Work(delivery, entry, normalize(entry), self.clock())
        if isinstance(work.event, MessageReceived):
            work.decision = decide_message(
                self.context(work),
                work.event,
                kind=ParticipantType.CUSTOMER,
                configuration_id=self.configuration_of(work.account_id),
            )
        return work

    def context(self, work: Work) -> Context:
        """Return what an event is judged by."""
        return Context(self._policy, self._accounts.own(work.account_id), self.clock())

    def is_doubtful(self, work: Work) -> bool:
        """Tell whether somebody came to an address that may have become ours since the account was read.

        Whoever creates our side notes its address first, so reading again after the callback came settles it.
        """
        event = work.event
        if isinstance(event, ClassicReported):
            return is_chat(event, self._accounts.own(work.account_id))
        if not isinstance(event, ParticipantReported) or event.participant.type == ParticipantType.CUSTOMER:
            return False
        own = self._accounts.own(work.account_id)
        return not any(address.key in own for address in event.participant.addresses)

    def configuration_of(self, account_id: str) -> str:
        """Return the configuration of the conversations that we open for an account."""
        return self._configurations.get(account_id, "")

    def pair(self, message: MessageReceived) -> str:
        """Return the name of a message's route."""
        return pair_of(self.configuration_of(message.account_id), message.customer, message.recipient)

    def route_name(self, work: Work) -> str | None:
        """Return the name of the route that an event's conversation may be found by, None where it needs none."""
        event = work.event
        if isinstance(event, MessageReceived):
            return self.pair(event) if work.is_wanted else None
        if isinstance(event, ClassicReported) and self._classic.is_bridged(work.account_id):
            return home_name(event)
        return None

    def needed(self, work: Work) -> tuple[str, list[str]] | None:
        """Return the conversation whose ledger an event needs, and which fields; None if none is known."""
        event = work.event
        if isinstance(event, Disregarded | CallReported):
            return None
        if isinstance(event, ClassicReported):
            home = work.route.conversation_id if work.route else None
            return None if home is None and self._classic.needs_home(event) else classic_fields(event, home)
        if isinstance(event, MessageReceived):
            return (work.route.conversation_id, fields_for((), [event.customer])) if work.route else None
        return ledger_fields(event)

    def apply(self, work: Work) -> Outcome | None:
        """Return the outcome of an event by what is committed, or None if the API must be asked.

        Raises FieldNotReadError; the ledger is then spoiled and must be read again.
        """
        event = work.event
        if isinstance(event, Disregarded):
            return Outcome(Result.IGNORED, event.reason)
        if isinstance(event, CallReported):
            return Outcome(Result.IGNORED, "not taken yet")
        if isinstance(event, MessageReceived):
            return self._apply_message(work, event)
        return self._apply_told(work, event)

    def _apply_told(self, work: Work, event: LedgerEvent | ClassicReported) -> Outcome | None:
        ledger = work.ledger
        if not isinstance(event, ClassicReported):
            self._accounts.note_callback(work.account_id)
        if ledger is None:
            return None
        if work.is_being_created and isinstance(event, ParticipantReported) and self._is_new(event, ledger):
            return None
        before, context = len(ledger.entries), self.context(work)
        if isinstance(event, ClassicReported):
            outcome = apply_classic(context, event, ledger)
        else:
            outcome = apply_event(context, event, ledger, work.surroundings)
        work.published = ledger.entries[before:]
        return outcome

    def _is_new(self, event: ParticipantReported, ledger: Ledger) -> bool:
        return event.change is not Change.REMOVED and ledger.marker(event.participant.id) is None

    def _apply_message(self, work: Work, message: MessageReceived) -> Outcome | None:
        if work.decision is None or work.decision.target is None:
            return Outcome(Result.IGNORED, work.decision.reason if work.decision else "no decision")
        route, ledger = work.route, work.ledger
        if route is None or ledger is None or ledger.is_closed or not self._is_trusted(work, route, ledger):
            return None
        context = self.context(work)
        if ledger.announced_at(message.customer) is not None:
            ledger.touch(context.now)
            return Outcome(Result.KNOWN, "announced in its conversation")
        decision = decide_message(
            context, message, kind=route.participant_type, configuration_id=ledger.get("configuration_id")
        )
        return Outcome(Result.IGNORED, decision.reason) if decision.target is None else None

    def _is_trusted(self, work: Work, route: Route, ledger: Ledger) -> bool:
        """Trust a route for a while after it was confirmed, and as long as callbacks would tell of a closing."""
        now = self.clock()
        if now - route.confirmed_at < self._route_ttl:
            return True
        return ledger.get("told") is not None and now - self._accounts.told(work.account_id) < self._route_ttl
