"""The verdict on a delivery after a resolution that found no participant, or after a failed read of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.errors import UnavailableError, UnusableError
from router.core.resolution.requests import Wait
from router.core.resolution.setbacks import setback_of
from router.streams.delivery import Later, Poison

if TYPE_CHECKING:
    from router.core.errors import ApiError
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


def after_failed_read(error: ApiError, doing: str, *, pause: float) -> Verdict:
    """Return the verdict on an event whose GET request failed; a GET has no effect that would have to be looked up.

    `pause`: seconds to wait in an outage if the API does not say how long.
    """
    setback = setback_of(error, doing)
    if isinstance(error, UnavailableError):
        return Later(setback.reason, error.retry_after or pause)
    return to_verdict(setback)
