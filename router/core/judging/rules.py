"""The rules of all accounts: judges an event by the committed state of its conversation. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from router.core.judging.context import Context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router.core.judging.context import AccountRules
    from router.core.judging.routes import Route
    from router.core.judging.work import AnyWork, Needed
    from router.core.ledger.ledger import Ledger
    from router.core.ledger.marker import Outcome
    from router.core.resolution.requests import Resolved


class AccountState(Protocol):
    """The current state of an account: the keys of our addresses."""

    own: frozenset[str]


class EventRules:
    """Judges events by the rules of their kind and of their account, and by the account's state.

    `rules` maps account SIDs to rules, `default` is for any other account; `clock` returns µs since 1970.
    `api_ahead` tells by how much (µs) the clock of an account's API is ahead of it.
    """

    def __init__(
        self,
        rules: Mapping[str, AccountRules],
        default: AccountRules,
        *,
        clock: Callable[[], int],
        api_ahead: Callable[[str], int] = lambda _: 0,
    ) -> None:
        self.clock = clock
        self.api_ahead = api_ahead
        self._rules = rules
        self._default = default

    def of(self, account_id: str) -> AccountRules:
        """Return the rules of an account."""
        return self._rules.get(account_id, self._default)

    def context(self, account_id: str, state: AccountState) -> Context:
        """Return the context in which events of an account are judged now."""
        rules = self._rules.get(account_id, self._default)
        return Context(rules, state.own, self.clock())

    def decide(self, work: AnyWork, state: AccountState) -> None:
        """Store the policy's decision on `work`, for kinds of events where it is made before anything is read."""
        if work.kind.decide is not None:
            work.decision = work.kind.decide(self.context(work.account_id, state), work.event)

    def is_doubtful(self, work: AnyWork, state: AccountState) -> bool:
        """Return whether a participant is at an address that may have become ours since the account was read."""
        is_doubtful = work.kind.is_doubtful
        return is_doubtful is not None and is_doubtful(self.context(work.account_id, state), work.event)

    def route_name(self, work: AnyWork) -> str | None:
        """Return the name of the route that may lead to the event's conversation; None if it needs none."""
        route = work.kind.route
        return route(self.of(work.account_id), work.event) if route is not None else None

    def needed(self, work: AnyWork) -> Needed | None:
        """Return the conversation and the ledger fields that an event needs; None if no conversation is known."""
        return work.kind.fields(self.of(work.account_id), work)

    def apply(self, work: AnyWork, state: AccountState) -> Outcome | None:
        """Return the outcome of an event by the committed state; None if the API must be asked.

        Raises FieldNotReadError; the ledger is then unusable and must be read again.
        """
        ledger = work.ledger
        before = len(ledger.entries) if ledger else 0
        outcome = work.kind.apply(self.context(work.account_id, state), work)
        work.published = ledger.entries[before:] if ledger else []
        return outcome

    def apply_confirmed(self, work: AnyWork, state: AccountState, route: Route) -> Outcome | None:
        """Return the outcome of an event whose conversation the API confirmed as open; None if it must be resolved."""
        apply_confirmed, ledger = work.kind.apply_confirmed, work.ledger
        if apply_confirmed is None or ledger is None:
            return None
        outcome = apply_confirmed(self.context(work.account_id, state), work, route, ledger)
        work.published = ledger.entries
        return outcome

    def apply_resolved(self, work: AnyWork, state: AccountState, resolved: Resolved, ledger: Ledger) -> Outcome:
        """Apply the result of a resolution, then publish the communication. Raises FieldNotReadError, as `apply`."""
        apply_resolved = work.kind.apply_resolved
        if apply_resolved is None:
            raise TypeError(f"{type(work.event).__name__} is never resolved")
        return apply_resolved(self.context(work.account_id, state), work, resolved, ledger)
