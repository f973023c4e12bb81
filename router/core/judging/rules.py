"""Judges events by what is committed; shared by the quick and the slow path, and free of I/O."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from router.core.calls import decide_call
from router.core.events import CallReported, Change, ClassicReported, Disregarded, MessageReceived, ParticipantReported
from router.core.judging.classic import apply_classic, classic_fields, home_name, is_chat, say
from router.core.judging.groups import apply_members, are_settled, wanted_members
from router.core.judging.participants import (
    Context,
    FoundEvent,
    LedgerEvent,
    apply_event,
    apply_resolved,
    decide_message,
    ledger_fields,
)
from router.core.judging.routes import pair_of
from router.core.judging.work import Work
from router.core.ledger.communications import apply_content, apply_message
from router.core.ledger.marker import Outcome, Result, fields_for, member_field
from router.core.resources import ParticipantType
from router.inbound.sources import normalize
from router.worker.bridges import Classic
from router.worker.work import read_inbound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router.core.addresses import Address
    from router.core.judging.routes import Route
    from router.core.ledger.ledger import Ledger
    from router.core.policy import Decision, Policy
    from router.core.resolution.requests import Resolved
    from router.streams.delivery import Delivery
    from router.worker.account_cache import AccountCache


class EventRules:
    """`route_ttl` is in seconds, `clock` gives µs since 1970; `configurations` has one for each account.

    `text_limit` is in characters; `classic` knows the accounts' classic conversations; without it nothing is bridged.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        accounts: AccountCache,
        configurations: Mapping[str, str],
        route_ttl: float,
        text_limit: int = 4096,
        clock: Callable[[], int],
        classic: Classic | None = None,
    ) -> None:
        self._configurations = configurations
        self.clock = clock
        self._policy = policy
        self._accounts = accounts
        self._classic = classic or Classic((), {})
        self._route_ttl = int(route_ttl * 1_000_000)
        self._text_limit = text_limit

    def begin(self, delivery: Delivery) -> Work:
        """Return the work of a delivery; raises UnreadableError or UnusableError if it can never be done."""
        entry = read_inbound(delivery)
        work = Work(delivery, entry, normalize(entry), self.clock())
        if isinstance(work.event, CallReported):
            work.decision = self._decide_call(work, work.event)
        return work

    def decide(self, work: Work, message: MessageReceived) -> Decision:
        """Return the policy's decision for a message's sender, made once and only where something hangs on it.

        Whoever is announced in its conversation is heard whatever it says.
        """
        if work.decision is None:
            work.decision = decide_message(
                self.context(work),
                message,
                kind=ParticipantType.CUSTOMER,
                configuration_id=self.configuration_of(work.account_id),
            )
        return work.decision

    def _decide_call(self, work: Work, call: CallReported) -> Decision:
        return decide_call(
            self._policy,
            account_id=work.account_id,
            customer=call.customer,
            recipient=call.recipient,
            configuration_id=self.configuration_of(work.account_id) or None,
            now=self.clock(),
        )

    def context(self, work: Work) -> Context:
        """Return what an event is judged by."""
        return self.context_of(work.account_id)

    def context_of(self, account_id: str) -> Context:
        """Return what is judged by in an account."""
        return Context(self._policy, self._accounts.own(account_id), self.clock(), self._text_limit)

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
            return self.pair(event)
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
            return (work.route.conversation_id, _message_fields(event, work.route)) if work.route else None
        return ledger_fields(event)

    def apply(self, work: Work) -> Outcome | None:
        """Return the outcome of an event by what is committed, or None if the API must be asked.

        Raises FieldNotReadError; the ledger is then spoiled and must be read again.
        """
        event, ledger = work.event, work.ledger
        if isinstance(event, Disregarded):
            return Outcome(Result.IGNORED, event.reason)
        if isinstance(event, CallReported):  # what is wanted, and every end, the slow path settles
            is_settled = work.decision is not None and work.decision.target is None and not event.is_over
            return Outcome(Result.IGNORED, work.decision.reason) if work.decision and is_settled else None
        before = len(ledger.entries) if ledger else 0
        if isinstance(event, MessageReceived):
            outcome = self._apply_message(work, event)
        else:
            outcome = self._apply_told(work, event)
        work.published = ledger.entries[before:] if ledger else []
        return outcome

    def _apply_told(self, work: Work, event: LedgerEvent | ClassicReported) -> Outcome | None:
        ledger = work.ledger
        if not isinstance(event, ClassicReported):
            self._accounts.note_callback(work.account_id)
        if ledger is None:
            return None
        if work.is_being_created and isinstance(event, ParticipantReported) and self._is_new(event, ledger):
            return None
        if isinstance(event, ClassicReported):
            return apply_classic(self.context(work), event, ledger)
        return apply_event(self.context(work), event, ledger, work.surroundings)

    def _is_new(self, event: ParticipantReported, ledger: Ledger) -> bool:
        return event.change is not Change.REMOVED and ledger.marker(event.participant.id) is None

    def _apply_message(self, work: Work, message: MessageReceived) -> Outcome | None:
        route, ledger = work.route, work.ledger
        if route is not None and ledger is not None and not ledger.is_closed:
            if not self._is_trusted(work, route, ledger) and self.decide(work, message).target is not None:
                return None
            if (outcome := self.apply_open(work, message, route, ledger)) is not None:
                return outcome
        decision = self.decide(work, message)
        return Outcome(Result.IGNORED, decision.reason) if decision.target is None else None

    def apply_open(self, work: Work, message: MessageReceived, route: Route, ledger: Ledger) -> Outcome | None:
        """Return the outcome of a message whose conversation is open, or None if the API must be asked.

        Whoever is announced there is heard by the holder, whatever the policy would say of newcomers by now.
        """
        context = self.context(work)
        if ledger.announced_at(message.customer) is not None:
            # of a message without further members, as nearly all are, there is nothing to decide
            is_settled = not message.others or self._are_settled(work, message, ledger)
            return (
                apply_message(message, ledger, text_limit=context.text_limit, now=context.now) if is_settled else None
            )
        decision = decide_message(
            context, message, kind=route.participant_type, configuration_id=ledger.get("configuration_id")
        )
        return Outcome(Result.IGNORED, decision.reason) if decision.target is None else None

    def _are_settled(self, work: Work, message: MessageReceived, ledger: Ledger) -> bool:
        return self.decide(work, message).target is None or are_settled(ledger, self.members(work, message))

    def apply_resolved(
        self,
        work: Work,
        event: FoundEvent,
        resolved: Resolved,
        ledger: Ledger,
    ) -> Outcome:
        """Apply what a resolution found, and then what was said: who joins has joined before it is heard.

        Raises FieldNotReadError, as `apply` does.
        """
        context = self.context(work)
        outcome = apply_resolved(context, resolved, ledger, event=event, read_at=work.begun)
        if outcome.result is Result.GONE:
            return outcome
        if isinstance(event, MessageReceived) and resolved.members:
            left_out = apply_members(context, resolved, ledger, message=event, read_at=work.begun)
            outcome = replace(outcome, reason="; ".join(filter(None, (outcome.reason, left_out))))
        if isinstance(event, ClassicReported):
            say(context, event, ledger)
        elif not isinstance(event, CallReported):
            apply_content(event, ledger, text_limit=context.text_limit)
        return outcome

    def members(self, work: Work, message: MessageReceived) -> tuple[Address, ...]:
        """Return the further members of a group message who shall be announced."""
        if not message.others:
            return ()
        configuration_id = self.configuration_of(work.account_id)
        return wanted_members(self.context(work), message, configuration_id=configuration_id)

    def _is_trusted(self, work: Work, route: Route, ledger: Ledger) -> bool:
        """Trust a route for a while after it was confirmed, and as long as callbacks would tell of a closing."""
        now = self.clock()
        if now - route.confirmed_at < self._route_ttl:
            return True
        return ledger.get("told") is not None and now - self._accounts.told(work.account_id) < self._route_ttl


def _message_fields(message: MessageReceived, route: Route) -> list[str]:
    fields = fields_for([route.participant_id], [message.customer, *message.others])
    return fields + [member_field(other.key) for other in message.others]
