"""The reconciler of one worker, step by step: time passes when a test or the reconciler advances the clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from router.streams.store.ledgers import Store
from router.streams.store.recent import Pace, Recent
from router.worker.reconciler import Reconciler

if TYPE_CHECKING:
    from router.process.apis import Apis
    from tests.worker.harness import WorkerHarness

WINDOW = 3600


class Sweeps:
    """A resolver that records events, and the reconciler beside it; `options` go to the resolver."""

    def __init__(self, harness: WorkerHarness, *, calls: int = 6000, apis: Apis | None = None, **options: Any) -> None:
        self.harness = harness
        self.slept: list[float] = []
        self.recent = Recent(harness.redis, harness.keys, window=WINDOW, clock=harness.clock)
        self.apis = apis or harness.make_apis(clock=lambda: harness.clock() / 1_000_000)
        self.resolver = harness.make_resolver(recent=self.recent, apis=self.apis, **options)
        self.reconciler = Reconciler(
            store=Store(harness.redis, harness.keys, marker_ttl=3600),
            recent=self.recent,
            pace=Pace(harness.redis, harness.keys, calls=calls, clock=harness.clock),
            apis=self.apis,
            accounts=self.resolver.accounts,
            rules=self.resolver.rules,
            unconfirmed=self.resolver.unconfirmed,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.harness.clock.advance(seconds)
        await asyncio.sleep(0)

    async def settle(self, *webhooks: Any) -> list[Any]:
        """Receive and settle webhooks with this worker."""
        return await self.harness.settle(*webhooks, by=self.resolver)

    async def sweep(self, after: float = 61) -> int:
        """Advance the clock by `after` seconds, then sweep all conversations that are due; returns their number."""
        self.harness.clock.advance(after)
        count = 0
        while await self.reconciler.step():
            count += 1
        return count
