"""Sends texts to waiting customers in the background: a slow API must not delay the deadlines of others.

A conversation whose customer is to be told has a timer a lease ahead. Once the text is sent, its next deadline takes
the place of the timer; if that fails, or the process dies, another tries again after the lease.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from router.logs import describe, log
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.core.ledger.ledger import Ledger
    from router.core.routing.holding import Holding
    from router.core.routing.notices import Notice
    from router.streams.store.timers import Timers

    #: Sends a text to a waiting customer: the ledger, the floor, the name by which it is sent once, the text.
    Notify = Callable[[Ledger, Holding, str, str], Awaitable[None]]

#: ms until a text that is not known to be sent is tried again.
NOTICE_LEASE: Final = 15_000
#: Texts that are sent at once; further ones wait for their timer.
_MOST: Final = 20


class Notices:
    """The texts that are being sent."""

    def __init__(self, notify: Notify, timers: Timers) -> None:
        self._notify = notify
        self._timers = timers
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._is_closed = False

    def tell(self, ledger: Ledger, holding: Holding, notice: Notice, revision: int, due: int | None) -> None:
        """Begin to send a notice; then the conversation at `revision` is looked at when it is `due` (ms)."""
        if self._is_closed or notice.name in self._tasks or len(self._tasks) >= _MOST:
            return
        task = asyncio.create_task(self._tell(ledger, holding, notice, revision, due))
        self._tasks[notice.name] = task
        task.add_done_callback(lambda _: self._tasks.pop(notice.name, None))

    async def _tell(self, ledger: Ledger, holding: Holding, notice: Notice, revision: int, due: int | None) -> None:
        try:
            await self._notify(ledger, holding, *notice)
            await self._timers.set(ledger.account_id, ledger.conversation_id, revision, due)
        except Exception as error:  # noqa: BLE001 - a task of its own; it is tried again after the lease
            log("floor.failed", level="warning", error=describe(error))

    async def idle(self) -> None:
        """Wait until all are sent, or have failed."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    async def close(self) -> None:
        """Stop sending for good; what is not sent is taken up by another process."""
        self._is_closed = True
        await end(*self._tasks.values())
