"""The steps of a repartition. The state is in Redis (streams.store.partitions), so a killed run is continued.

stopping   workers and consumers of ours finish what they do, and wait; receivers go on
copying    the fences are closed: what is appended goes to the spool; everything is written at its new place as well
switching  the divided streams replace the old ones; from here on only the new number is possible
cleaning   the fences are open for the new number, and all go on; the old keys are deleted

Every write is under a fence that names the run, so that a run that was held up cannot disturb its successor.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from router.core.errors import RouterError
from router.core.keys import Keys
from router.core.values import replace
from router.streams.client.connection import load_script
from router.streams.consuming.groups import name_consumer
from router.streams.repartition.copies import Copies
from router.streams.repartition.guard import Guard
from router.streams.repartition.streams import SETS, STREAMS, Division
from router.streams.store.inspect import consumed_streams
from router.streams.store.partitions import Layout, Phase, read_layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.streams.client.connection import Redis

#: Seconds between two looks for consumers that still run.
LOOK_EVERY: Final = 0.2
_TAKEN: Final = "another repartition is running"


class RepartitionError(RouterError):
    """A repartition cannot begin or go on; the message says what to do."""


class Mover:
    """One run; `keys` are those of the setting, `patience` is in seconds. `say(what, number)` reports the progress."""

    def __init__(self, redis: Redis, keys: Keys, *, patience: float, say: Callable[[str, int], None]) -> None:
        self._redis = redis
        self._keys = keys
        self._patience = patience
        self._say = say
        self._name = name_consumer()

    async def move(self, number: int) -> Layout:
        """Move everything to this number of partitions, or continue to do so; returns the layout before.

        Raises RepartitionError, UnknownKeyError or RedisError; then a later run continues, or goes back.
        """
        before = layout = await read_layout(self._redis, self._keys)
        if layout.phase is Phase.CLEANING:
            layout = await self._clean(await self._take_over(layout))
        if layout.phase is Phase.OPEN:
            if layout.new == number:
                await self._set_fences(layout, str(number))
                return before
            layout = await self._set(layout, Layout(layout.new, number, Phase.STOPPING, self._name))
        elif layout.new == number:
            layout = await self._take_over(layout)
        elif layout.old == number and layout.phase is not Phase.SWITCHING:
            await self._go_back(await self._take_over(layout))
            return before
        else:
            raise RepartitionError(_unfinished(layout))
        if layout.phase is Phase.STOPPING:
            layout = await self._stop(layout)
        if layout.phase is Phase.COPYING:
            layout = await self._copy(layout)
        await self._clean(await self._switch(layout))
        return before

    async def _set(self, old: Layout, new: Layout) -> Layout:
        """Replace the state; raises RepartitionError if another run has changed it."""
        args = [old.text, new.text]
        if not await load_script("replace").run(self._redis, [self._keys.layout()], args):
            raise RepartitionError(_TAKEN)
        return new

    async def _take_over(self, layout: Layout) -> Layout:
        return await self._set(layout, replace(layout, mover=self._name))

    def _both(self, layout: Layout) -> tuple[Keys, Keys]:
        namespace = self._keys.namespace
        return Keys(namespace, layout.old), Keys(namespace, layout.new)

    async def _stop(self, layout: Layout) -> Layout:
        """Wait until our consumers have stopped; if they do not, everything is as before."""
        try:
            running = await self._wait_for_consumers(layout)
        except asyncio.CancelledError:
            await self._set(layout, Layout(layout.old, layout.old))
            raise
        if running:
            await self._set(layout, Layout(layout.old, layout.old))
            names = ", ".join(sorted(running))
            raise RepartitionError(f"these consumers did not stop: {names}; end them and run this again")
        return await self._set(layout, replace(layout, phase=Phase.COPYING))

    async def _wait_for_consumers(self, layout: Layout) -> set[str]:
        """Return the names of those that still run when the patience is over."""
        deadline = time.monotonic() + self._patience
        while (running := await self._running(layout)) and time.monotonic() <= deadline:
            self._say("consumers that have not stopped yet", len(running))
            await asyncio.sleep(LOOK_EVERY)
        return running

    async def _running(self, layout: Layout) -> set[str]:
        """Return the names of consumers of ours that are alive."""
        old, _ = self._both(layout)
        beats: dict[str, str] = {}
        for partition in range(layout.old):
            for stream in consumed_streams(old, partition):
                beats |= await self._beats(old, partition, stream)
        pipeline = self._redis.pipeline(transaction=False)
        for key in beats:
            pipeline.exists(key)
        alive = await pipeline.execute() if beats else []
        return {name for name, is_alive in zip(beats.values(), alive, strict=True) if is_alive}

    async def _beats(self, keys: Keys, partition: int, stream: str) -> dict[str, str]:
        """Return the consumers of all groups of a stream by their heartbeats."""
        found = {}
        try:
            groups: Any = await self._redis.xinfo_groups(stream)
        except ResponseError:  # there is no such stream
            return {}
        for group in groups:
            consumers: Any = await self._redis.xinfo_consumers(stream, group["name"])
            for row in consumers:
                name = row["name"].decode("utf-8", "backslashreplace")
                found[keys.heartbeat(partition, group["name"].decode("utf-8", "backslashreplace"), name)] = name
        return found

    async def _set_fences(self, layout: Layout, text: str) -> None:
        """Set the fences of all old and new partitions, unless another run is in charge by now."""
        for partition in range(max(layout.old, layout.new)):
            key = self._keys.fence(partition)
            present: Any = await self._redis.get(key) or b""
            if await self._redis.get(self._keys.layout()) != layout.text.encode():
                raise RepartitionError(_TAKEN)
            script = load_script("replace")
            if present != text.encode() and not await script.run(self._redis, [key], [present, text]):
                raise RepartitionError(_TAKEN)

    def _closed(self) -> str:
        return f"closed {self._name}"

    async def _copy(self, layout: Layout) -> Layout:
        """Write everything at its new place as well, from the beginning."""
        await self._set_fences(layout, self._closed())
        old, new = self._both(layout)
        guard = Guard(self._redis, new, self._closed())
        division = Division(self._redis, guard, old, new, self._say)
        for name in STREAMS:
            await division.divide(name)
        for name in SETS:
            await division.divide_set(name)
        await Copies(self._redis, old, new, division.effects, self._say).copy(guard)
        return await self._set(layout, replace(layout, phase=Phase.SWITCHING))

    async def _switch(self, layout: Layout) -> Layout:
        """Replace the streams, and let all go on with the new number."""
        await self._set_fences(layout, self._closed())
        old, new = self._both(layout)
        division = Division(self._redis, Guard(self._redis, new, self._closed()), old, new, self._say)
        for partition in range(layout.new):
            await division.switch(partition)
        for partition in range(layout.new):
            await division.finish(partition)
        await self._set_fences(layout, str(layout.new))
        return await self._set(layout, replace(layout, phase=Phase.CLEANING))

    async def _clean(self, layout: Layout) -> Layout:
        """Delete what is left at the old places."""
        old, new = self._both(layout)
        await Copies(self._redis, old, new, {}, self._say).clean(Guard(self._redis, new, str(layout.new)))
        return await self._set(layout, Layout(layout.new, layout.new))

    async def _go_back(self, layout: Layout) -> None:
        """Open the old partitions again, and delete the copies."""
        await self._set_fences(layout, str(layout.old))
        back = Layout(layout.new, layout.old, Phase.CLEANING, self._name)
        await self._clean(await self._set(layout, back))


def _unfinished(layout: Layout) -> str:
    text = (
        f"a repartition from {layout.old} to {layout.new} is not finished: run `repartition {layout.new}` to finish it"
    )
    if layout.phase is Phase.SWITCHING:
        return text
    return f"{text}, or `repartition {layout.old}` to go back"


class ProgressReport:
    """Calls `say(text)` with what was last reported, at most every `every` seconds."""

    def __init__(self, say: Callable[[str], None], *, every: float = 2.0) -> None:
        self._say = say
        self._every = every
        self._said_at = time.monotonic()

    def __call__(self, what: str, number: int) -> None:
        """Report a number of something."""
        if time.monotonic() - self._said_at >= self._every:
            self._said_at = time.monotonic()
            self._say(f"{what}: {number:,}")
