"""A window per account, so that the entries in flight of one account never take the place of another's.

An entry whose account has no room is set *aside*: it stays pending in Redis, only a reference to it is kept, and later
entries of the account queue behind it. So order is kept and reading goes on for other accounts. The entry comes back
once its account has room. Reading stops when so many entries are aside that memory would grow (ASIDE_PER_SLOT). With a
single account nothing is set aside: a full window stops reading.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from router.streams.consuming.window import Window
from router.streams.delivery import Delivery, size_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from router.streams.client.connection import Redis
    from router.streams.consuming.window import WorkResult
    from router.streams.delivery import StreamRef

#: Entries aside at most, as a multiple of one window's slots: a few dozen MB of references at the usual 500.
ASIDE_PER_SLOT: Final = 200


@dataclass(frozen=True, slots=True)
class AsideEntry:
    """A reference to an entry that is set aside: where it is, its subject, and how it was delivered."""

    stream: StreamRef
    entry_id: str
    subject: str
    is_redelivered: bool
    crashes: int = 0


class AccountWindows:
    """The windows of a consumer, with `limit` slots each; `work` is the window's. For use within one event loop."""

    def __init__(
        self, limit: int, work: Callable[[Delivery], Awaitable[WorkResult]], *, has_several_accounts: bool
    ) -> None:
        self._limit = limit
        self._work = work
        self._has_several_accounts = has_several_accounts
        self._windows: dict[str, Window[Delivery]] = {}
        self._aside: dict[str, deque[AsideEntry]] = {}
        self._subjects: Counter[str] = Counter()  # of entries aside
        self._changed = asyncio.Event()
        self._is_closing = False

    def of(self, account: str) -> Window[Delivery]:
        """Return the window of an account."""
        window = self._windows.get(account)
        if window is None:
            window = self._windows[account] = Window(self._limit, self._work, order=_position, weigh=size_of)
        return window

    @property
    def aside(self) -> int:
        """Number of entries that are set aside."""
        return sum(map(len, self._aside.values()))

    def is_busy(self, subject: str) -> bool:
        """Return whether an entry of this subject is in flight or aside: a later one must queue behind it."""
        if subject in self._subjects:
            return True
        return any(window.is_busy(subject) for window in self._windows.values() if window.held)

    async def admit(self, account: str, subject: str, delivery: Delivery) -> bool:
        """Take an entry in or set it aside; returns False, having done neither, if this closes first."""
        window = self.of(account)
        if not self._has_several_accounts:
            return await window.admit(subject, delivery)
        if self._is_closing:
            return False
        if account not in self._aside and window.has_room:
            return window.put(subject, delivery)
        entry = AsideEntry(delivery.stream, delivery.entry_id, subject, delivery.is_redelivered, delivery.crashes)
        self._aside.setdefault(account, deque()).append(entry)
        self._subjects[subject] += 1
        return True

    async def wait_for_room(self) -> None:
        """Return once reading may go on, or when this closes."""
        if not self._has_several_accounts:
            for window in self._windows.values():
                await window.wait_for_room()
            return
        while not self._is_closing and self.aside >= self._limit * ASIDE_PER_SLOT:
            self._changed.clear()
            await self._changed.wait()

    def due(self, limit: int) -> Iterator[tuple[str, list[AsideEntry]]]:
        """Yield each account that has room again, with its first entries aside: as many as fit, at most `limit`."""
        for account, entries in [*self._aside.items()]:
            count = min(limit, self.of(account).room, len(entries))
            if count > 0 and not self._is_closing:
                yield account, [entries[index] for index in range(count)]

    def bring_back(self, account: str, entries: Sequence[AsideEntry], deliveries: Sequence[Delivery | None]) -> None:
        """Take the account's first `entries` in again as `deliveries`; None is dropped: Redis no longer has it."""
        aside = self._aside[account]
        for entry, delivery in zip(entries, deliveries, strict=True):
            if delivery is not None and not self.of(account).put(entry.subject, delivery):
                break  # closing: it stays pending, and a survivor takes it over
            aside.popleft()
            self._subjects[entry.subject] -= 1
            if not self._subjects[entry.subject]:
                del self._subjects[entry.subject]
        if not aside:
            del self._aside[account]
        self._changed.set()

    async def close(self, grace: float) -> int:
        """Close all windows (see Window.close); returns how many entries were cut off, those aside included."""
        self._is_closing = True
        self._changed.set()
        return self.aside + sum(await asyncio.gather(*[window.close(grace) for window in self._windows.values()]))


def _position(delivery: Delivery) -> tuple[int, int]:
    """Return the position of an entry in its stream."""
    millis, _, number = delivery.entry_id.partition("-")
    return int(millis), int(number)


async def read_aside(redis: Redis, entries: Sequence[AsideEntry]) -> list[Delivery | None]:
    """Read entries again, None for one that is gone: the consumer that took it over has finished it."""
    pipeline = redis.pipeline(transaction=False)
    for entry in entries:
        pipeline.xrange(entry.stream.key, min=entry.entry_id, max=entry.entry_id)
    answers = await pipeline.execute()
    return [
        Delivery(entry.stream, entry.entry_id, rows[0][1], entry.is_redelivered, entry.crashes) if rows else None
        for entry, rows in zip(entries, answers, strict=True)
    ]
