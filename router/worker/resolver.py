"""The path of an inbound event through the worker: quick for whole batches, slow for what is left of them.

Both end the same way: committed, then acknowledged. A crash between the two repeats the event, and the ledger makes
the repeat silent.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from router.core.judging.judge import Judge
from router.core.keys import Target
from router.worker.batches import Quick
from router.worker.bridges import Classic
from router.worker.own_side import Accounts
from router.worker.singles import Slow
from router.worker.work import Newcomers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router.core.classic.resolution import Bridge
    from router.core.policy import Policy
    from router.process.apis import Apis
    from router.streams.store.ledgers import Store


class Resolver:
    """Resolves the events of all accounts.

    `always_own` are keys of addresses that are our side whatever happens (the AI agent's), `captured` those that an
    account's configuration captures for us, by account; `route_ttl` is in seconds, `text_limit` in characters;
    `attaching` are the targets whose answer to a call puts it into a conversation; `bridges` are those of the accounts
    whose classic service is bridged; with `classic_lookup` a customer is looked for in classic conversations before a
    conversation is opened; `clock` gives µs since 1970.
    """

    def __init__(
        self,
        *,
        store: Store,
        apis: Apis,
        policy: Policy,
        route_ttl: float,
        text_limit: int = 4096,
        always_own: frozenset[str] = frozenset(),
        captured: Mapping[str, frozenset[str]] | None = None,
        attaching: frozenset[Target] = frozenset(Target),
        bridges: Mapping[str, Bridge] | None = None,
        classic_lookup: bool = False,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.accounts = accounts = Accounts(store, always_own=always_own, captured=captured, clock=clock)
        configurations = {api.account.sid: api.account.configuration_id or "" for api in apis}
        self.classic = classic = Classic(apis, bridges or {}, is_lookup=classic_lookup)
        self.judge = judge = Judge(
            policy=policy,
            accounts=accounts,
            configurations=configurations,
            route_ttl=route_ttl,
            text_limit=text_limit,
            classic=classic,
            clock=clock,
        )
        newcomers = Newcomers()
        self.quick = Quick(store=store, accounts=accounts, judge=judge, newcomers=newcomers)
        self.slow = Slow(
            store=store,
            apis=apis,
            accounts=accounts,
            judge=judge,
            classic=classic,
            attaching=attaching,
            newcomers=newcomers,
        )
