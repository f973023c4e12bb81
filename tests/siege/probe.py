"""Other customers, who have nothing to do with what is disturbed: how many of them are served, and how soon."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final

from router.simulator.messages import message
from tests.support.accounts import ACCOUNT, OURS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.siege.deployment import Siege

#: Numbers of MessageSids: beyond those of messages that are appended straight into a stream (backlog.py).
_NUMBERS: Final[Iterator[int]] = count(1 << 80)
#: Phone numbers of customers who are served, by number; those of a siege begin with another area code.
_PHONE: Final = "+1554{:07d}"
_PHONES: Final[Iterator[int]] = count(1)


@dataclass(frozen=True, slots=True)
class Served:
    """The messages of a probe, by their MessageSid; `seconds` from the moment each was due until it was published."""

    sent: tuple[str, ...]
    seconds: tuple[float, ...]
    doubled: int
    customers: tuple[str, ...] = field(repr=False, default=())

    @property
    def number(self) -> int:
        """The number of messages that were published."""
        return len(self.seconds)

    @property
    def p99(self) -> float | None:
        """The 99th percentile in milliseconds, None if nothing was published."""
        return _percentile(self.seconds, 0.99)

    @property
    def longest(self) -> float | None:
        """The longest time in milliseconds."""
        return _percentile(self.seconds, 1.0)


def _percentile(seconds: Sequence[float], share: float) -> float | None:
    ordered = sorted(seconds)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000 if ordered else None


def new_customers(number: int) -> list[str]:
    """Return so many phone numbers that nobody has used yet."""
    return [_PHONE.format(next(_PHONES)) for _ in range(number)]


def new_sid() -> str:
    """Return a MessageSid that nobody has used yet."""
    return f"SM{next(_NUMBERS):032x}"


async def write(siege: Siege, customer: str, text: str = "hello", *, account: str = ACCOUNT, kind: str = "sms") -> str:
    """Send one message of a customer; returns its MessageSid."""
    sid = new_sid()
    await siege.post(
        message(kind, account_sid=account, sender=customer, recipient=OURS, body=text, sid=sid), account=account
    )
    return sid


async def serve(
    siege: Siege, customers: Sequence[str], *, rate: float, patience: float, account: str = ACCOUNT
) -> Served:
    """Send one message of each customer, `rate` a second, and wait until all are published or time is over.

    The moments are fixed up front: a receiver that stalls is measured too.
    """
    begun, begun_at = time.monotonic(), time.time()
    due: dict[str, float] = {}

    async def send(number: int, customer: str) -> None:
        await asyncio.sleep(begun + number / rate - time.monotonic())
        sid = new_sid()
        due[sid] = begun_at + number / rate
        webhook = message("sms", account_sid=account, sender=customer, recipient=OURS, body="hello", sid=sid)
        await siege.post(webhook, account=account)

    await asyncio.gather(*[send(number, customer) for number, customer in enumerate(customers)])
    watcher = siege.watcher
    await watcher.until_heard(due, patience)
    seconds = [max(0.0, watcher.at[sid] - at) for sid, at in due.items() if sid in watcher.at]
    doubled = sum(len(watcher.heard[sid]) > 1 for sid in due if sid in watcher.heard)
    return Served(tuple(due), tuple(seconds), doubled, tuple(customers))
