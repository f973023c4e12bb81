"""Effects that happen once per entry although an entry may be delivered more than once: claim, do, mark.

An entry's effect consists of named steps, kept in Redis under (group, entry id) for LIFE. Guaranteed: a step that is
marked done is never done again, over redeliveries, restarts and replays of its dead letter; its value is kept. A step
that was begun and not marked is done again, and is told so (`Doubt`), because only it knows how to look whether it
had its effect. Known gaps: between an effect and its mark lies a moment that only looking can bridge; a process that
hangs for longer than its heartbeat and wakes up in the middle of a step may do it beside its successor; what is
redelivered after LIFE is new. Where replicas are waited for (ROUTER_REDIS_WAIT), a step begins only once they know of
it; else a failover may forget that it was begun.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from router.core.errors import ApiError, RouterError, had_no_effect
from router.streams.client.connection import Script
from router.streams.client.scripts import NO_REPLICATION, Replication, run_confirmed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.core.keys import Keys
    from router.streams.client.connection import Redis

#: Seconds: how long it is remembered what was done about an entry (7 days).
LIFE: Final = 7 * 86_400
#: The step that all others are part of: the entry itself.
ENTRY: Final = "entry"


class NotYetError(RouterError):
    """It cannot be told yet whether a step had its effect: look again after `delay` seconds; nobody's fault."""

    def __init__(self, message: str, *, delay: float) -> None:
        super().__init__(message)
        self.delay = delay


@dataclass(frozen=True, slots=True)
class Doubt:
    """The step was begun before, `age` seconds ago, and may have had its effect."""

    age: float


@dataclass(frozen=True, slots=True)
class _Begun:
    """A step that is done (`value`), in doubt, or new: then `state` is what Redis holds of it."""

    value: str | None = None
    doubt: Doubt | None = None
    state: bytes = b""


class Effect:
    """How far the handling of one entry got."""

    def __init__(self, redis: Redis, key: str, replication: Replication = NO_REPLICATION) -> None:
        self._redis = redis
        self._key = key
        self._replication = replication

    async def outcome(self) -> str | None:
        """Return what the entry ended with, None if it has not ended."""
        state: Any = await self._redis.hget(self._key, ENTRY)
        return state[1:].decode() if state else None

    async def end(self, outcome: str) -> None:
        """Note that the entry is finished: from now on its redeliveries are silent."""
        await self._finish(ENTRY, outcome)

    async def once(self, step: str, do: Callable[[Doubt | None], Awaitable[str]]) -> str:
        """Do a step unless it is done, and return its value.

        `do` gets a Doubt where an earlier try may have had the effect. If it raises, the step stays begun, unless the
        API's error says that nothing happened.
        """
        begun = await self._begin(step)
        if begun.value is not None:
            return begun.value
        try:
            value = await do(begun.doubt)
        except ApiError as error:
            if begun.doubt is None and had_no_effect(error):
                await load_script("forget").run(self._redis, [self._key], [step, begun.state])
            raise
        await self._finish(step, value)
        return value

    async def again(self, step: str) -> None:
        """Note that a step in doubt was looked for in vain and is begun once more: its age counts from now."""
        await self._begin(step, is_again=True)

    async def _begin(self, step: str, *, is_again: bool = False) -> _Begun:
        args = [step, LIFE, "1" if is_again else "0"]
        script = load_script("begin")
        state, told = await run_confirmed(self._redis, script, [self._key], args, self._replication)
        if state == b"done":
            return _Begun(value=str(told, "utf-8"))
        return _Begun(state=told) if state == b"new" else _Begun(doubt=Doubt(max(0, int(told)) / 1000))

    async def _finish(self, step: str, value: str) -> None:
        await load_script("finish").run(self._redis, [self._key], [step, LIFE, value])


class Effects:
    """The effects of one group."""

    def __init__(self, redis: Redis, keys: Keys, group: str, replication: Replication = NO_REPLICATION) -> None:
        self._redis = redis
        self._keys = keys
        self._group = group
        self._replication = replication

    def of(self, partition: int, entry_id: str) -> Effect:
        """Return the effect of an entry, by the id inside it, which is equal over redeliveries and replays."""
        return Effect(self._redis, self._keys.effect(partition, self._group, entry_id), self._replication)


@cache
def load_script(name: str) -> Script:
    """Return the script `scripts/<name>.lua`."""
    return Script(files("handlers").joinpath("scripts", f"{name}.lua").read_text(encoding="utf-8"))
