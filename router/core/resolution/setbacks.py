"""The consequence of an API error for an event: a wait, or never. Decided here only.

An outage is never the event's fault: UnavailableError (core.errors) waits for as long as the API asks, refused
credentials wait for an operator. A 404 for something that is configured and not in the event (a configuration id, a
service) waits too, but not for ever: the worker bounds that wait. Any other refusal is final.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.errors import AuthenticationError, NotFoundError, UnavailableError, had_no_effect
from router.core.resolution.requests import Unusable, Wait

if TYPE_CHECKING:
    from router.core.errors import ApiError

#: Seconds to wait where the API does not say how long.
SHORT_WAIT: Final = 1.0
#: Seconds to wait for an operator to correct credentials.
LONG_WAIT: Final = 30.0
#: What a list of conversations needs: the URL or the account is wrong if it is not found.
COLLECTION: Final = "its list of conversations (TWILIO_CONVERSATIONS_URL, the account's access to the API)"


def setback_of(error: ApiError, doing: str, *, needs: str = "") -> Wait | Unusable:
    """Return the wait that an error asks for, or the reason why the event can never be resolved.

    `doing` says which request failed; the reason begins with it. `needs` names what the request needs beyond the event,
    with its id: a 404 means that the API does not know that.
    """
    reason = f"{doing}: {type(error).__name__} {error.status or ''}".rstrip()
    if needs and isinstance(error, NotFoundError):
        return Wait(f"{doing}: the API does not know {needs}", LONG_WAIT, missing=needs)
    if isinstance(error, AuthenticationError):
        return Wait(reason, LONG_WAIT)
    if isinstance(error, UnavailableError):
        return Wait(reason, error.retry_after or SHORT_WAIT, is_unsure=not had_no_effect(error))
    return Unusable(f"{reason} {error}")
