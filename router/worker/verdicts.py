"""The verdict on a delivery after a resolution that found no participant, or after a failed read of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.errors import UnavailableError, UnusableError
from router.core.resolution.requests import Wait
from router.core.resolution.setbacks import setback_of
from router.streams.delivery import Later, Poison

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.errors import ApiError
    from router.core.judging.work import AnyWork
    from router.core.resolution.requests import Unusable
    from router.streams.delivery import Verdict


def to_verdict(outcome: Wait | Unusable) -> Verdict:
    """Return the verdict on an event that cannot be resolved now, or never.

    Raises UnusableError if "never" is not certain: the attempt counts as a failure, and a few more follow.
    """
    if isinstance(outcome, Wait):
        return Later(outcome.reason, outcome.delay, is_unsure=outcome.is_unsure, is_usual=outcome.is_usual)
    if not outcome.is_certain:
        raise UnusableError(outcome.reason)
    return Poison(outcome.reason)


class Patience:
    """Bounds the wait for what the API does not know although it is configured: a configuration, a service.

    An event gives up once it has waited for `limit` seconds and the API has not known the same thing for as long, as
    far as this process saw: neither a new event nor one that was late for another reason is given up at once.
    """

    def __init__(self, limit: float, *, clock: Callable[[], int]) -> None:
        self._limit = limit
        self._clock = clock
        self._missing_since: dict[tuple[str, str], int] = {}

    def judge(self, work: AnyWork, wait: Wait) -> Verdict:
        """Return the verdict on an event whose resolution asks for a wait."""
        if not wait.missing:
            return to_verdict(wait)
        now = self._clock()
        since = self._missing_since.setdefault((work.account_id, wait.missing), now)
        if min(work.age(now), (now - since) / 1_000_000) < self._limit:
            return to_verdict(wait)
        return Poison(f"{wait.reason}, for {self._limit:.0f} s (ROUTER_NOT_FOUND_WAIT)")

    def note_found(self, account_id: str) -> None:
        """Note that an event of the account was resolved: the waits begin anew."""
        if self._missing_since:
            self._missing_since = {key: at for key, at in self._missing_since.items() if key[0] != account_id}


def after_failed_read(error: ApiError, doing: str, *, pause: float) -> Verdict:
    """Return the verdict on an event whose GET request failed; a GET has no effect that would have to be looked up.

    `pause`: seconds to wait in an outage if the API does not say how long.
    """
    setback = setback_of(error, doing)
    if isinstance(error, UnavailableError):
        return Later(setback.reason, error.retry_after or pause)
    return to_verdict(setback)
