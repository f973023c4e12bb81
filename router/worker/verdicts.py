"""The verdict on a delivery after a resolution that found no participant, or after a failed read of the API."""

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

    Raises UnusableError if "never" is not certain: the attempt counts as a failure, and a few more follow.
    """
    if isinstance(outcome, Wait):
        return Later(outcome.reason, outcome.delay, is_unsure=outcome.is_unsure, is_usual=outcome.is_usual)
    if not outcome.is_certain:
        raise UnusableError(outcome.reason)
    return Poison(outcome.reason)


def after_failed_read(error: ApiError, doing: str) -> Verdict:
    """Return the verdict on an event whose GET request failed; a GET has no effect that would have to be looked up."""
    setback = setback_of(error, doing)
    return to_verdict(replace(setback, is_unsure=False) if isinstance(setback, Wait) else setback)
