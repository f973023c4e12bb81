"""The path of an inbound event through the worker: quick for whole batches, slow for what is left of them.

Both end the same way: committed, then acknowledged. A crash between the two repeats the event, and the ledger makes
the repeat silent.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from router.worker.accounts import Accounts
from router.worker.classic import Classic
from router.worker.judge import Judge
from router.worker.quick import Quick
from router.worker.slow import Slow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router.core.classic_resolution import Bridge
    from router.core.policy import Policy
    from router.ports import Apis
    from router.streams.store import Store


class Resolver:
    """Resolves the events of all accounts.

    `always_own` are keys of addresses that are our side whatever happens (the AI agent's); `bridges` are those of the
    accounts whose classic service is bridged; with `classic_lookup` a customer is looked for in classic conversations
    before a conversation is opened; `route_ttl` is in seconds; `clock` gives µs since 1970.
    """

    def __init__(
        self,
        *,
        store: Store,
        apis: Apis,
        policy: Policy,
        route_ttl: float,
        always_own: frozenset[str] = frozenset(),
        bridges: Mapping[str, Bridge] | None = None,
        classic_lookup: bool = False,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        accounts = Accounts(store, always_own=always_own, clock=clock)
        configurations = {api.account.sid: api.account.configuration_id or "" for api in apis}
        classic = Classic(apis, bridges or {}, is_lookup=classic_lookup)
        judge = Judge(
            policy=policy,
            accounts=accounts,
            configurations=configurations,
            route_ttl=route_ttl,
            clock=clock,
            classic=classic,
        )
        self.quick = Quick(store=store, accounts=accounts, judge=judge)
        self.slow = Slow(store=store, apis=apis, accounts=accounts, judge=judge, classic=classic)
