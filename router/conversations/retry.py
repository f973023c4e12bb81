"""When a call is repeated, and after how long. Pure: the error, the method and a random number in, a delay out.

GET, HEAD, PUT and PATCH have the same effect once or twice. A POST has not, and the API knows no idempotency key for
it: it is repeated only where it was certainly not processed, which is a 429 or a connection that was never made. A 503
says "not now" but not "not done", so it counts as unknown for a POST, with or without Retry-After; its caller re-reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from router.core.errors import RateLimitError, ServerError, TransportError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

REPEATABLE_METHODS: Final = frozenset({"GET", "HEAD", "PUT", "PATCH"})
_REDIRECTS: Final = range(300, 400)


def is_unprocessed(error: UnavailableError) -> bool:
    """Tell whether the request certainly had no effect."""
    return isinstance(error, RateLimitError) or (isinstance(error, TransportError) and not error.is_sent)


def _may_help(error: UnavailableError, *, is_repeatable: bool) -> bool:
    if isinstance(error, ServerError) and error.status in _REDIRECTS:
        return False  # a wrong base URL or a portal in between: an operator must mend it
    return is_repeatable or is_unprocessed(error)


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
        jitter = random() * min(self.ceiling, self.base * 2.0 ** (attempt - 1))
        delay = (error.retry_after or 0.0) + jitter
        return delay if delay < remaining else None
