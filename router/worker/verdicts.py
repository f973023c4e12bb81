"""What the end of a resolution, or a reading of the API that failed, means for the delivery of an event."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from router.core.errors import UnusableError
from router.core.resolution.requests import Unusable, Wait
from router.core.resolution.setbacks import setback_of
from router.streams.delivery import Later, Poison

if TYPE_CHECKING:
    from router.core.errors import ApiError
    from router.streams.delivery import Verdict


def to_verdict(outcome: Wait | Unusable) -> Verdict:
    """Return the verdict on an event that cannot be resolved now, or never.

    Raises UnusableError where that is not certain: it counts as a failure and is tried a few more times.
    """
    if isinstance(outcome, Wait):
        return Later(outcome.reason, outcome.delay, is_unsure=outcome.is_unsure, is_usual=outcome.is_usual)
    if not outcome.is_certain:
        raise UnusableError(outcome.reason)
    return Poison(outcome.reason)


def after_failed_read(error: ApiError, doing: str) -> Verdict:
    """Return the verdict on an event whose GET request failed: such a request has no effect that could be unsure."""
    setback = setback_of(error, doing)
    return to_verdict(replace(setback, is_unsure=False) if isinstance(setback, Wait) else setback)
