"""The presence of people: one per identity, for as long as at least one of their pages is connected.

While a page is open, `agent.available` (or `agent.away`) is written every RENEW seconds, with LIFE seconds to live.
After the last one is gone the presence has only LEAVING seconds left, so a browser that was killed lapses by itself,
and a console that was killed after LIFE. LEAVING is longer than RENEW: another console, to which the same person is
connected, renews in time. A page that is loaded again is back within PAUSE, and nothing is written.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from router.core.routing.commands import LIFE, write_command
from router.logs import describe, log
from router.streams.client.connection import RedisError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from router.core.keys import Keys
    from router.streams.client.connection import Redis
    from router.streams.store.person_marks import PersonMarks

#: Seconds between two commands while a page is connected.
RENEW: Final = 20.0
#: Seconds of presence after the last page is gone.
LEAVING: Final = 25
#: Seconds of presence of a page that was loaded and is not connected: without JavaScript it never will be.
LOADED: Final = 120
#: Seconds without a page after which a person is gone.
PAUSE: Final = 2.0
#: Seconds until the next attempt after Redis did not answer.
_AGAIN: Final = 1.0
#: Seconds of sleep of the loop while nothing is due: a change wakes it.
_LONG: Final = 60.0


@dataclass(slots=True)
class _Person:
    """The connected pages of a person, when the next command is due, and when the last one was written."""

    pages: int = 0
    due: float | None = None
    told_at: float | None = None


class PagePresence:
    """The presence of all people of one console. `clock` returns seconds of any origin."""

    def __init__(
        self, redis: Redis, keys: Keys, marks: PersonMarks, *, source: str, clock: Callable[[], float]
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._marks = marks
        self._source = source
        self._clock = clock
        self._people: dict[str, _Person] = {}
        self._changed = asyncio.Event()

    @contextmanager
    def page(self, identity: str) -> Iterator[None]:
        """Count a connected page of a person while the block runs."""
        person, now = self._people.setdefault(identity, _Person()), self._clock()
        person.pages += 1
        if person.pages == 1:
            self._plan(person, now if person.told_at is None else max(now, person.told_at + RENEW))
        try:
            yield
        finally:
            person.pages -= 1
            if person.pages == 0:
                self._plan(person, self._clock() + PAUSE)

    def is_connected(self, identity: str) -> bool:
        """Return whether a page of a person is connected."""
        person = self._people.get(identity)
        return person is not None and person.pages > 0

    async def load(self, identity: str) -> None:
        """Note that a person has loaded a page, which may never be connected. Raises RedisError."""
        if identity not in self._people:
            await self._tell([identity], LOADED)

    async def set_away(self, identity: str, *, is_away: bool) -> None:
        """Note that a person is away, or back, until they say otherwise. Raises RedisError."""
        await self._marks.set_away(identity, is_away=is_away)
        await self._tell([identity], LIFE if self.is_connected(identity) else LOADED)

    async def run(self) -> None:
        """Write the commands that are due, until it is canceled."""
        while True:
            self._changed.clear()
            due = min((one.due for one in self._people.values() if one.due is not None), default=None)
            pause = _LONG if due is None else due - self._clock()
            if pause > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), min(pause, _LONG))
                continue
            try:
                await self.tell_due()
            except (RedisError, OSError) as error:
                log("console.waiting", level="warning", reason=describe(error))
                await asyncio.sleep(_AGAIN)

    async def tell_due(self, *, is_last: bool = False) -> None:
        """Write the commands that are due now; with `is_last` all pages are gone. Raises RedisError."""
        now = self._clock()
        due = [name for name, one in self._people.items() if is_last or (one.due is not None and one.due <= now)]
        present = [name for name in due if self._people[name].pages and not is_last]
        gone = [name for name in due if name not in present]
        await self._tell(present, LIFE)
        await self._tell(gone, LEAVING)
        for name in present:
            person = self._people[name]
            person.told_at, person.due = now, (now + RENEW if person.pages else now + PAUSE)
        for name in gone:
            if is_last or not self._people[name].pages:
                del self._people[name]
            else:  # back while the command was written
                self._people[name].told_at = None
                self._people[name].due = now

    def _plan(self, person: _Person, due: float) -> None:
        person.due = due
        self._changed.set()

    async def _tell(self, identities: list[str], life: int) -> None:
        """Write a command for each person, in one round trip."""
        if not identities:
            return
        away = await self._marks.who_is_away(identities)
        pipeline = self._redis.pipeline(transaction=False)
        for identity in identities:
            kind = "agent.away" if identity in away else "agent.available"
            data: dict[str, Any] = {"agent": identity, "life": life}
            fields: dict[Any, Any] = dict(
                write_command(kind, f"presence-{secrets.token_hex(12)}", data, source=self._source)
            )
            pipeline.xadd(self._keys.commands(0), fields)
        await pipeline.execute()
