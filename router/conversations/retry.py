"""The rule of retries: whether a failed call is repeated, and after which delay. Pure: the caller brings the chance.

GET, HEAD, PUT and PATCH have the same effect once or twice. A POST has not, and the API has no idempotency key, so a
POST is repeated only if the failed attempt had no effect (core.errors.had_no_effect). In every other case the caller
reads again what the POST may have created.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from router.core.backoff import backoff
from router.core.errors import ServerError, had_no_effect

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.errors import UnavailableError

REPEATABLE_METHODS: Final = frozenset({"GET", "HEAD", "PUT", "PATCH"})
_REDIRECTS: Final = range(300, 400)


def _may_help(error: UnavailableError, *, is_repeatable: bool) -> bool:
    if isinstance(error, ServerError) and error.status in _REDIRECTS:
        return False  # a wrong base URL or a proxy in between: needs operator action
    return is_repeatable or had_no_effect(error)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with full jitter: `base` seconds, doubled per attempt up to `ceiling`, times 0 to 1."""

    retries: int = 4
    base: float = 0.25
    ceiling: float = 8.0

    def delay(
        self,
        error: UnavailableError,
        *,
        attempt: int,
        is_repeatable: bool,
        remaining: float,
        random: Callable[[], float],
    ) -> float | None:
        """Return the seconds to wait after failed `attempt` (from 1), or None if the call ends with `error`.

        A Retry-After is waited out in full, with the jitter on top so that not all callers come back at once; a wait
        that would reach `remaining`, the seconds left to the call, is not begun.
        """
        if attempt > self.retries or not _may_help(error, is_repeatable=is_repeatable):
            return None
        delay = (error.retry_after or 0.0) + backoff(self.base, attempt - 1, ceiling=self.ceiling, jitter=random())
        return delay if delay < remaining else None
