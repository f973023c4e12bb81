"""The timers of conversations' floors: sorted sets by due time, in the conversations' partitions.

A commit that changes a floor sets its timer a lease ahead; the process that then makes the desk agree sets the time of
the next deadline. If it dies, another takes the timer after the lease. A timer that fires once too often changes
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from router.streams.client.connection import load_script

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.keys import Keys
    from router.streams.client.connection import Redis

#: ms until another process handles what one took and did not finish.
TIMER_LEASE: Final = 3000


class DueTimers(NamedTuple):
    """The account and conversation of timers that are due, and when the next one is (ms), None if there is none."""

    conversations: list[tuple[str, str]]
    next_at: int | None


class Timers:
    """The timers of one namespace. `clock` returns ms since 1970; `on_set` gets the time of each that is set here."""

    def __init__(self, redis: Redis, keys: Keys, *, clock: Callable[[], int]) -> None:
        self.on_set: Callable[[int], None] = lambda _: None
        self._redis = redis
        self._keys = keys
        self._clock = clock
        self._take, self._set = load_script("timers_take"), load_script("timers_set")

    async def take(self, partition: int, limit: int) -> DueTimers:
        """Return up to `limit` timers that are due. Raises RedisError."""
        args = [self._clock(), limit, TIMER_LEASE]
        found, due = await self._take.run(self._redis, [self._keys.timers(partition)], args)
        pairs = (name.decode().partition(" ") for name in found)
        rows = [(account_id, conversation_id) for account_id, _, conversation_id in pairs]
        return DueTimers(rows, int(float(due)) if due else None)

    async def set(self, account_id: str, conversation_id: str, revision: int, due: int | None) -> None:
        """Set the next time (ms) of a conversation that is still at `revision`; None: no deadline."""
        keys = [
            self._keys.timers(self._keys.partition_of(conversation_id)),
            self._keys.conversation(account_id, conversation_id),
        ]
        await self._set.run(
            self._redis, keys, [revision, f"{account_id} {conversation_id}", "" if due is None else due]
        )
        if due is not None:
            self.on_set(due)
