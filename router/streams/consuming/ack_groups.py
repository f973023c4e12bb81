"""Acknowledges finished entries together: those that finish while others are being acknowledged go with the next group.

Gain, by tests.benchmarks.steps: 700 of the 20,000 steps of a new customer's message.
"""

from __future__ import annotations

import asyncio
from copy import copy
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.streams.delivery import Delivery

    Command = tuple[str, ...]


class _Acknowledging(NamedTuple):
    """A finished entry, the commands that go along, and the future of its attempt."""

    delivery: Delivery
    along: tuple[Command, ...]
    done: asyncio.Future[None]


class AckGroups:
    """Groups the acknowledgements of one consumer, one group at a time for each stream.

    `acknowledge` acknowledges a group, with its commands if there are any; what it raises concerns all of the group.
    """

    def __init__(self, acknowledge: Callable[..., Awaitable[None]]) -> None:
        self._acknowledge = acknowledge
        self._waiting: dict[str, list[_Acknowledging]] = {}  # by stream, while it has a task
        self._tasks: set[asyncio.Task[None]] = set()

    async def acknowledge(self, delivery: Delivery, along: tuple[Command, ...]) -> None:
        """Acknowledge an entry, after its commands; raises what acknowledging its group raised."""
        stream, done = delivery.stream.key, asyncio.get_running_loop().create_future()
        waiting = self._waiting.get(stream)
        if waiting is None:
            waiting = self._waiting[stream] = []
            task = asyncio.create_task(self._run(stream, waiting), name=f"acknowledge {stream}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        waiting.append(_Acknowledging(delivery, along, done))
        await done

    async def _run(self, stream: str, waiting: list[_Acknowledging]) -> None:
        """Acknowledge group after group; every attempt gets an answer whatever happens."""
        try:
            while waiting:
                group, waiting[:] = waiting[:], []
                await self._settle(group)
        finally:
            del self._waiting[stream]  # no await since the check above: a later attempt starts another task

    async def _settle(self, group: list[_Acknowledging]) -> None:
        problem: BaseException | None = ConnectionAbortedError("the acknowledgement was cut off")
        try:
            along = [command for one in group for command in one.along]
            await self._acknowledge([one.delivery for one in group], *([along] if along else []))
            problem = None
        except Exception as error:  # noqa: BLE001 - every attempt gets it
            problem = error
        finally:
            for one in group:
                if one.done.done():  # its attempt was canceled
                    continue
                if problem is None:
                    one.done.set_result(None)
                else:
                    one.done.set_exception(copy(problem))  # a copy each: raising adds a traceback
