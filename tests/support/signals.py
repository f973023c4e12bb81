"""Signals of programs that measure or disturb: the first Ctrl-C or SIGTERM ends everything in order."""

from __future__ import annotations

import asyncio
import signal


def cancel_on_signals() -> None:
    """Cancel the current task at the first SIGINT or SIGTERM; further ones do not cut its cleanup short."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: task is None or task.cancelling() or task.cancel())
