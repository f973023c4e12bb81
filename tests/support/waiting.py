"""Waiting for something to become true: the one place where tests poll."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


async def until(predicate: Callable[[], Any], timeout: float = 30.0) -> Any:  # noqa: ASYNC109 # a limit, not a wait
    """Return what `predicate` (sync or async) answers once that is true; TimeoutError if it never is in `timeout` s."""
    async with asyncio.timeout(timeout):
        while True:
            answer = predicate()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return answer
            await asyncio.sleep(0.01)
