"""A stream that is filled under another name, put in place at once, and watched until all of it is acknowledged.

Filling it while a consumer reads would measure the filling. So entries are written to a draft, consumer group included,
which one RENAME puts in place; a reader is timed from outside, from its first acknowledgment to its last.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from router.core.keys import RESOLVER, Keys
from router.core.signing.form import parse_form
from router.inbound.messaging import identify
from router.streams.consuming.groups import ensure_group
from router.streams.store.append import FIELDS, InboundFields
from router.streams.store.inspect import has_consumer
from tests.benchmarks.frame import BenchmarkError
from tests.benchmarks.processes import PATIENCE
from tests.harness.deployment import count_unfinished
from tests.support.accounts import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.streams.client.connection import Redis
    from tests.benchmarks.processes import Child
    from tests.benchmarks.webhooks import Senders

#: Seconds between two checks of the acknowledged entries.
LOOK: Final = 0.002
_CHUNK: Final = 5_000


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream with the group that reads it."""

    redis: Redis
    name: str
    group: str

    @classmethod
    def inbound(cls, redis: Redis, keys: Keys) -> Stream:
        """Return the inbound stream of a namespace."""
        return cls(redis, keys.inbound(0), RESOLVER)

    async def create(self) -> None:
        """Create it, empty, with its group, so that a reader can be started."""
        await ensure_group(self.redis, self.name, self.group)

    async def has_reader(self, keys: Keys) -> bool:
        """Tell whether a worker reads it, which means that its start is complete."""
        return await has_consumer(self.redis, keys, self.name, self.group)

    async def prepare(self, senders: Senders, count: int) -> None:
        """Write `count` messages to the draft; the customers write in turn."""
        run, draft = secrets.randbits(60), f"{self.name}:draft"
        now = time.time_ns() // 1_000_000
        await ensure_group(self.redis, draft, self.group)
        for start in range(0, count, _CHUNK):
            pipeline = self.redis.pipeline(transaction=False)
            for number in range(start + 1, min(start + _CHUNK, count) + 1):
                fields = _fields(senders, run, number)
                if number > senders.customers:  # as the receiver adds it
                    fields += [b"after", f"{now}-{number - senders.customers}"]
                pipeline.execute_command("XADD", draft, f"{now}-{number}", *fields)
            await pipeline.execute()

    async def release(self) -> None:
        """Replace the stream by the draft."""
        await self.redis.rename(f"{self.name}:draft", self.name)

    async def acknowledged(self, count: int) -> int:
        """Return how many of the last `count` entries are read, and neither pending nor parked any more."""
        return count - await count_unfinished(self.redis, self.name)

    async def until_acknowledged(self, readers: Sequence[Child], count: int, *, look: float = LOOK) -> float:
        """Wait until all `count` entries are acknowledged; returns events/s from the first to the last of them."""
        first: tuple[float, int] | None = None
        deadline = time.monotonic() + PATIENCE
        while True:
            now, done = time.perf_counter(), await self.acknowledged(count)
            if first is None and done:
                first = now, done
            if first is not None and done >= count:
                begun, early = first
                return (count - early) / (now - begun) if count > early else float(count)
            if time.monotonic() > deadline:
                names = ", ".join(reader.name for reader in readers)
                raise BenchmarkError(f"{names}: {done} of {count} entries acknowledged in {PATIENCE:.0f} s")
            for reader in readers:
                reader.check()
            await asyncio.sleep(look)


def _fields(senders: Senders, run: int, number: int) -> list[Any]:
    body = senders.form(run, number)
    identity = identify(parse_form(body), default_account=ACCOUNT)
    received_at = time.time_ns() // 1000
    return fields_of(
        InboundFields("messaging", identity.account_id, identity.key, identity.subject, received_at, body, ttl=0)
    )


def fields_of(inbound: InboundFields) -> list[Any]:
    """Return field and value of an inbound entry in turn, as XADD takes them."""
    return [part for pair in zip(FIELDS, inbound.to_values(), strict=False) for part in pair]
