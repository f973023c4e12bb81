"""Recently active conversations, and when the reconciler sweeps each of them next.

Each partition has two sorted sets of the same names, in the slot of its conversations: by last event, and by next
sweep. The commit script notes an event with one ZADD, and three more commands for a conversation that is new there. A
process notes a conversation once within NOTED seconds, so the last event is known to that precision. A sweep is claimed
by moving its time LEASE seconds ahead, so that a claim ends by itself if its worker dies. Bounded: of more than MOST
names in a partition the longest inactive ones are dropped, and the sets expire once nothing is written.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from router.core.judging.recovery import QUIET
from router.core.values import Value
from router.streams.client.connection import load_script

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.keys import Keys
    from router.streams.client.connection import Redis

#: Seconds between two sweeps of one conversation.
REST: Final = 600
#: Seconds that a claimed sweep may take.
LEASE: Final = 600
#: Seconds for which a process does not note a conversation again.
NOTED: Final = 30
#: Conversations per partition: some hours of the usual budget, a few MB.
MOST: Final = 20_000


class SweepClaim(Value):
    """A claimed sweep of a conversation; times (ms): its last event, when it became due, when the claim ends."""

    account_id: str
    conversation_id: str
    active_at: int
    due_at: int
    ends_at: int


class Recent:
    """The conversations of one namespace with an event within `window` seconds; `clock` returns µs since 1970."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        *,
        window: int,
        most: int = MOST,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._window = window * 1000
        self._life = 2 * window + REST + LEASE
        self._most = most
        self._clock = clock
        self._noted: dict[tuple[str, str], int] = {}
        self._take = load_script("sweep_take")
        self._end = load_script("sweep_end")

    @property
    def partitions(self) -> int:
        """Number of partitions."""
        return self._keys.partitions

    def keys(self, partition: int) -> list[str]:
        """Return the keys of a partition's sets in the order of the scripts."""
        return [self._keys.active(partition), self._keys.sweeps(partition)]

    def note(self, account_id: str, conversation_id: str, *, is_doubtful: bool = False) -> list[Any]:
        """Return the commit script's arguments for noting an event; empty if the conversation was noted just now.

        They are the name, the time and the first sweep (ms), the lifetime of the sets (s), and 1 if `is_doubtful`: then
        it is swept as soon as a new conversation. Call `unnote` if the commit fails.
        """
        now, key = self._clock() // 1000, (account_id, conversation_id)
        if 0 <= now - self._noted.get(key, 0) < NOTED * 1000 and not is_doubtful:  # below 0: Redis' clock was set
            return []
        if len(self._noted) >= self._most:
            self._noted.clear()
        self._noted[key] = now
        return [f"{account_id} {conversation_id}", now, now + QUIET * 1000, self._life, int(is_doubtful)]

    def unnote(self, account_id: str, conversation_id: str) -> None:
        """Note the conversation again with its next commit."""
        self._noted.pop((account_id, conversation_id), None)

    async def take(self, partition: int) -> SweepClaim | None:
        """Claim the sweep that has been due for the longest; None if none is due. Raises RedisError."""
        now = self._clock() // 1000
        ends_at = now + LEASE * 1000
        args = [now, ends_at, self._most, self._life]
        row: Any = await self._take.run(self._redis, self.keys(partition), args)
        if row is None:
            return None
        account_id, _, conversation_id = row[0].decode().partition(" ")
        return SweepClaim(account_id, conversation_id, int(row[1]), int(row[2]), ends_at)

    def is_over(self, claim: SweepClaim) -> bool:
        """Return whether the last event is outside the window, so that sweeps end."""
        return claim.active_at < self._clock() // 1000 - self._window

    def is_late(self, claim: SweepClaim) -> bool:
        """Return whether the sweep was overdue by more than REST: then the budget is too small."""
        return self._clock() // 1000 - claim.due_at > REST * 1000

    async def put_back(self, claim: SweepClaim, delay: float) -> None:
        """Schedule the next sweep in `delay` seconds, unless the claim has ended and another worker has it."""
        await self._finish(claim, int(self._clock() / 1000 + delay * 1000), is_over=False)

    async def forget(self, claim: SweepClaim, *, is_final: bool = False) -> None:
        """End the sweeps until the next event; an event since the claim counts, unless `is_final`."""
        again = 0 if is_final else self._clock() // 1000 + QUIET * 1000
        await self._finish(claim, again, is_over=True)

    async def _finish(self, claim: SweepClaim, due: int, *, is_over: bool) -> None:
        keys = self.keys(self._keys.partition_of(claim.conversation_id))
        name = f"{claim.account_id} {claim.conversation_id}"
        await self._end.run(self._redis, keys, [name, claim.ends_at, due, int(is_over), claim.active_at])


class Pace:
    """The budget of API calls that the reconcilers of all workers share: `calls` a minute, evenly spaced.

    Unused calls are not saved up, so that a quiet night is not followed by a burst. `clock` returns µs since 1970, the
    time of Redis; clocks that differ make the pace slower, never faster.
    """

    def __init__(
        self, redis: Redis, keys: Keys, *, calls: int, clock: Callable[[], int] = lambda: time.time_ns() // 1000
    ) -> None:
        self._redis = redis
        self._key = keys.pace()
        self._interval = -(-60_000 // calls)
        self._clock = clock
        self._script = load_script("pace")

    async def take(self) -> float:
        """Return 0 if a call may be made now (it is then counted), else the seconds to wait before asking again."""
        wait = await self._script.run(self._redis, [self._key], [self._clock() // 1000, self._interval])
        return min(int(wait), 2 * self._interval) / 1000
