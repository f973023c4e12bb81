"""Room for each account: what one has in flight never takes the place of another's.

Every account has a window of its own. An entry whose account has no room left is set *aside*: it stays pending in
Redis, only its name is kept, and later entries of its account queue up behind it, so that order is kept and reading
goes on for the others. It comes back as soon as its account has room. Reading stops when so many are aside that memory
would grow (ASIDE_PER_SLOT). Where there is one account only nothing is set aside: a full window stops the reading.
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
    from router.streams.delivery import StreamRef

#: Entries aside at most, as a multiple of one window's slots: a few dozen MB of names at the usual 500.
ASIDE_PER_SLOT: Final = 200


@dataclass(frozen=True, slots=True)
class Name:
    """What is kept of an entry that is aside: where it is, what it is about, and how it was delivered."""

    stream: StreamRef
    entry_id: str
    subject: str
    is_redelivered: bool
    deaths: int = 0


class AccountWindows:
    """The windows of a consumer, `limit` slots each; `work` is that of Window. Only for use within one event loop."""

    def __init__(self, limit: int, work: Callable[[Delivery], Awaitable[object]], *, has_several: bool) -> None:
        self._limit = limit
        self._work = work
        self._has_several = has_several
        self._windows: dict[str, Window[Delivery]] = {}
        self._aside: dict[str, deque[Name]] = {}
        self._subjects: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._is_closing = False

    def of(self, account: str) -> Window[Delivery]:
        """Return an account's window."""
        window = self._windows.get(account)
        if window is None:
            window = self._windows[account] = Window(self._limit, self._work, order=_place, weigh=size_of)
        return window

    @property
    def aside(self) -> int:
        """How many entries are aside."""
        return sum(map(len, self._aside.values()))

    def is_busy(self, subject: str) -> bool:
        """Tell whether an entry of this subject is in flight or aside: a later one must queue up behind it."""
        if subject in self._subjects:
            return True
        return any(window.is_busy(subject) for window in self._windows.values() if window.held)

    async def admit(self, account: str, subject: str, delivery: Delivery) -> bool:
        """Take an entry in or set it aside; returns False, having done neither, if this closes first."""
        window = self.of(account)
        if not self._has_several:
            return await window.admit(subject, delivery)
        if self._is_closing:
            return False
        if account not in self._aside and window.has_room:
            return window.put(subject, delivery)
        name = Name(delivery.stream, delivery.entry_id, subject, delivery.is_redelivered, delivery.deaths)
        self._aside.setdefault(account, deque()).append(name)
        self._subjects[subject] += 1
        return True

    async def wait_for_room(self) -> None:
        """Return once reading may go on, or when this closes."""
        if not self._has_several:
            for window in self._windows.values():
                await window.wait_for_room()
            return
        while not self._is_closing and self.aside >= self._limit * ASIDE_PER_SLOT:
            self._changed.clear()
            await self._changed.wait()

    def due(self, most: int) -> Iterator[tuple[str, list[Name]]]:
        """Yield each account that has room again, with the names of at most `most` of its entries, in order."""
        for account, names in [*self._aside.items()]:
            count = min(most, self.of(account).room, len(names))
            if count > 0 and not self._is_closing:
                yield account, [names[index] for index in range(count)]

    def bring_back(self, account: str, names: Sequence[Name], deliveries: Sequence[Delivery | None]) -> None:
        """Take in what was aside: the account's first `names`, with what Redis still holds of each."""
        aside = self._aside[account]
        for name, delivery in zip(names, deliveries, strict=True):
            if delivery is not None and not self.of(account).put(name.subject, delivery):
                break  # closing: it stays pending, and a survivor takes it
            aside.popleft()
            self._subjects[name.subject] -= 1
            if not self._subjects[name.subject]:
                del self._subjects[name.subject]
        if not aside:
            del self._aside[account]
        self._changed.set()

    async def close(self, grace: float) -> int:
        """End as Window.close does; returns how many were cut off, those that were aside included."""
        self._is_closing = True
        self._changed.set()
        return self.aside + sum(await asyncio.gather(*[window.close(grace) for window in self._windows.values()]))


def _place(delivery: Delivery) -> tuple[int, int]:
    """Return where in its stream an entry is."""
    millis, _, number = delivery.entry_id.partition("-")
    return int(millis), int(number)


async def read_named(redis: Redis, names: Sequence[Name]) -> list[Delivery | None]:
    """Return entries by their names, None for one that is gone: whoever took it over has finished it."""
    pipeline = redis.pipeline(transaction=False)
    for name in names:
        pipeline.xrange(name.stream.key, min=name.entry_id, max=name.entry_id)
    answers = await pipeline.execute()
    return [
        Delivery(name.stream, name.entry_id, rows[0][1], name.is_redelivered, name.deaths) if rows else None
        for name, rows in zip(names, answers, strict=True)
    ]
