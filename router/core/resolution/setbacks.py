"""The consequence of an API error for an event: a wait, or never. Decided here only.

An outage is never the event's fault: 429, 5xx, lost connections and concurrent changes wait for as long as the API
asks; refused credentials wait for an operator. Any other refusal is final.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.errors import AuthenticationError, UnavailableError, had_no_effect
from router.core.resolution.requests import Unusable, Wait

if TYPE_CHECKING:
    from router.core.errors import ApiError

#: Seconds to wait where the API does not say how long.
SHORT_WAIT: Final = 1.0
#: Seconds to wait for an operator to correct credentials.
LONG_WAIT: Final = 30.0


def setback_of(error: ApiError, doing: str) -> Wait | Unusable:
    """Return the wait that an error asks for, or the reason why the event can never be resolved.

    `doing` says which request failed; the reason begins with it.
    """
    reason = f"{doing}: {type(error).__name__} {error.status or ''}".rstrip()
    if isinstance(error, AuthenticationError):
        return Wait(reason, LONG_WAIT)
    if isinstance(error, UnavailableError):
        return Wait(reason, error.retry_after or SHORT_WAIT, is_unsure=not had_no_effect(error))
    return Unusable(f"{reason} {error}")
