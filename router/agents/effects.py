"""Effects that happen once per entry, although an entry may be delivered more than once: claim, do, mark.

The handling of an entry consists of named steps, stored in Redis under (group, entry id) for LIFE. Guarantee: a step
that is marked done is never done again, over redeliveries, restarts and replays of dead letters, and its value is kept.
A step that was begun and not marked is in doubt: it is done again with a `Doubt`, because only the step itself can find
out whether it had its effect.

Known gaps: a process may die between an effect and its mark, so the step must look for the effect; a process that hangs
longer than its heartbeat and resumes inside a step may do it at the same time as its successor; an entry redelivered
after LIFE is new. With ROUTER_REDIS_WAIT a step begins once the replicas have it; without, a failover may forget it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from router.core.errors import ApiError, RouterError, had_no_effect
from router.streams.client.scripts import NO_REPLICATION, Replication, load_script, run_confirmed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.core.keys import Keys
    from router.streams.client.connection import Redis

#: Seconds for which the steps of an entry are stored (7 days).
LIFE: Final = 7 * 86_400
#: The name of the step that stands for the entry as a whole.
ENTRY: Final = "entry"


class NotYetError(RouterError):
    """It is not known yet whether a step had its effect: look again after `delay` seconds. Not a failure."""

    def __init__(self, message: str, *, delay: float) -> None:
        super().__init__(message)
        self.delay = delay


class StaleEpochError(RouterError):
    """Somebody else holds the conversation by now: the step is not begun, or was begun `begun_for` seconds ago."""

    def __init__(self, message: str, *, begun_for: float | None = None) -> None:
        super().__init__(message)
        self.begun_for = begun_for


@dataclass(frozen=True, slots=True)
class Ticket:
    """The epoch in which a step was prepared: it is begun while the conversation is still in it, else never."""

    account_id: str
    conversation_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Doubt:
    """The step was begun `age` seconds ago and may have had its effect."""

    age: float


@dataclass(frozen=True, slots=True)
class _FirstTry:
    """The step was not begun before; `state` is its field in Redis now."""

    state: bytes


@dataclass(frozen=True, slots=True)
class _Finished:
    """The step is done."""

    value: str


class Effect:
    """The steps of one entry, in a partition; `name` is their key."""

    def __init__(
        self, redis: Redis, name: str, keys: Keys, partition: int, replication: Replication = NO_REPLICATION
    ) -> None:
        self._redis = redis
        self._key = name
        self._keys = keys
        self._fence = keys.fence(partition)
        self._replication = replication

    async def outcome(self) -> str | None:
        """Return the outcome of the entry, None if it is not finished."""
        state: Any = await self._redis.hget(self._key, ENTRY)
        return state[1:].decode() if state else None

    async def is_begun(self, step: str) -> bool:
        """Tell whether a step was begun, and may have had its effect."""
        return bool(await self._redis.hexists(self._key, step))

    async def end(self, outcome: str) -> None:
        """Mark the entry as finished: its redeliveries do nothing."""
        await self._finish(ENTRY, outcome)

    async def once(self, step: str, do: Callable[[Doubt | None], Awaitable[str]], ticket: Ticket | None = None) -> str:
        """Do a step unless it is done, and return its value.

        `do` gets a Doubt if an earlier try may have had the effect, else None. If it raises, the step stays begun,
        unless the error is an answer of the API that excludes an effect. Raises StaleEpochError if the step is not done
        and the conversation of the `ticket` is in another epoch, by the same script that begins the step.
        """
        begun = await self._begin(step, ticket)
        if isinstance(begun, _Finished):
            return begun.value
        try:
            value = await do(begun if isinstance(begun, Doubt) else None)
        except ApiError as error:
            if isinstance(begun, _FirstTry) and had_no_effect(error):
                await load_script("forget").run(self._redis, [self._key], [step, begun.state])
            raise
        await self._finish(step, value)
        return value

    async def finish(self, step: str, value: str) -> None:
        """Mark a step in doubt as done, after its effect was found."""
        await self._finish(step, value)

    async def again(self, step: str, ticket: Ticket | None = None) -> None:
        """Begin a step in doubt again, after its effect was not found: its age counts from now."""
        await self._begin(step, ticket, is_again=True)

    async def _begin(
        self, step: str, ticket: Ticket | None, *, is_again: bool = False
    ) -> _FirstTry | _Finished | Doubt:
        args: list[Any] = [step, LIFE, "1" if is_again else "0", self._keys.partitions]
        names = [self._key, self._fence]
        if ticket is not None:
            names.append(self._keys.conversation(ticket.account_id, ticket.conversation_id))
            args.append(ticket.epoch)
        word, detail = await run_confirmed(self._redis, load_script("begin"), names, args, self._replication)
        if word == b"stale":
            raise StaleEpochError(f"the conversation is in epoch {int(detail)} by now")
        if word == b"late":
            raise StaleEpochError("the conversation is in another epoch by now", begun_for=max(0, int(detail)) / 1000)
        if word == b"done":
            return _Finished(str(detail, "utf-8"))
        return _FirstTry(detail) if word == b"new" else Doubt(max(0, int(detail)) / 1000)

    async def _finish(self, step: str, value: str) -> None:
        await load_script("finish").run(self._redis, [self._key], [step, LIFE, value])


class Effects:
    """The effects of one consumer group."""

    def __init__(self, redis: Redis, keys: Keys, group: str, replication: Replication = NO_REPLICATION) -> None:
        self._redis = redis
        self._keys = keys
        self._group = group
        self._replication = replication

    def of(self, partition: int, entry_id: str) -> Effect:
        """Return the effect of an entry by its CloudEvents id, which is the same over redeliveries and replays."""
        name = self._keys.effect(partition, self._group, entry_id)
        return Effect(self._redis, name, self._keys, partition, self._replication)
